import Foundation
import Testing

@testable import KVModel

/// Lets this process have no more than `room` KiB of writable memory beyond what it has: an allocation above that fails,
/// and the process with it, whether a page of it would ever be touched or not. (Neither resident size nor address space
/// shows it: the one counts touched pages only, the other has 64 MiB of room in every thread's malloc arena.)
private func capMemory(room: UInt) {
  let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
  let line = status.split(separator: "\n").first { $0.hasPrefix("VmData:") }
  let number = line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { UInt($0) }
  guard let mapped = number else { fatalError("no VmData in /proc/self/status") }
  var limit = rlimit(rlim_cur: (mapped + room) << 10, rlim_max: (mapped + room) << 10)
  invariant(setrlimit(__rlimit_resource_t(RLIMIT_DATA.rawValue), &limit) == 0, "no limit set")
}

/// Inputs of up to some tens of bytes in which every field that may be a count or a length is as large as it can be.
private func claims(_ decoder: Decoder) -> [[UInt8]] {
  var random = PRNG(seed: 47)
  var inputs: [[UInt8]] = []
  for _ in 0..<2 {
    let whole = decoder.valid(&random)
    for place in 0..<min(whole.count, 200) {
      for width in [1, 2, 4] {
        for value in [0xff, 0x3f, 0x07] as [UInt8] {
          var input = Array(whole.prefix(place + width))
          for offset in place..<min(place + width, input.count) { input[offset] = 0xff }
          if !input.isEmpty { input[input.count - 1] = value }
          inputs.append(input)
          var longer = input + whole.dropFirst(place + width)
          decoder.reseal(&longer)
          inputs.append(longer)
        }
      }
    }
  }
  return inputs
}

private func feed(_ decoder: Decoder, _ inputs: [[UInt8]]) {
  for input in inputs { _ = try? decoder.recode(input) }
}

@Suite struct AllocationTests {
  /// hiredis#1357, Rk#1648. In a child process that may map 1 MiB more than it has: every decoder survives inputs of some
  /// hundred bytes, whatever lengths they claim (up to 4 GiB each).
  @Test func `hazard 47: a decoder does not allocate what a header merely claims`() async {
    await #expect(processExitsWith: .success) {
      let attacks = Decoder.all.map { (decoder: $0, inputs: claims($0)) }
      for (decoder, _) in attacks {
        var random = PRNG(seed: 1)
        for _ in 0..<64 { _ = try? decoder.recode(decoder.valid(&random)) }
      }
      capMemory(room: 1_024)
      for (decoder, inputs) in attacks { feed(decoder, inputs) }
    }
  }

  @Test func `planted: hazard 47: a decoder that believes a length of four megabytes does not survive the same cap`()
    async
  {
    await #expect(processExitsWith: .failure) {
      let believing = Decoder("a believer") {
        [1, 0, 0, 0] + $0.bytes(1)
      } recode: { (input) throws(DecodeError) in
        try input.decode { (bytes) throws(DecodeError) in
          var reader = ByteReader(bytes)
          let count = Int(try reader.u32())
          var result: [UInt8] = []
          result.reserveCapacity(min(count, 4 << 20))
          result.append(contentsOf: try reader.view(reader.remaining))
          return result
        }
      }
      let inputs = claims(believing)
      capMemory(room: 1_024)
      feed(believing, inputs)
    }
  }
}
