import Foundation
import Testing

@testable import KVModel

/// Peak address space of a process: rises with every allocation, whether its pages are touched or not.
func peakAddressSpaceKiB() -> Int {
  guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
    let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmPeak:") }),
    let number = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first
  else { return .max }
  return Int(number) ?? .max
}

/// Inputs of up to some tens of bytes in which every field that may be a count or a length is as large as it can be.
private func claims(_ decoder: Decoder) -> [[UInt8]] {
  var random = PRNG(seed: 47)
  var inputs: [[UInt8]] = []
  for _ in 0..<8 {
    let whole = decoder.valid(&random)
    for place in 0..<min(whole.count, 400) {
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
  /// hiredis#1357, Rk#1648. In a child process, where nothing else allocates: after one warm round the peak of the
  /// address space stays where it is, whatever lengths the inputs claim (up to 4 GiB each).
  @Test func `hazard 47: a decoder does not allocate what a header merely claims`() async {
    await #expect(processExitsWith: .success) {
      for decoder in Decoder.all {
        let inputs = claims(decoder)
        var random = PRNG(seed: 1)
        for _ in 0..<64 { _ = try? decoder.recode(decoder.valid(&random)) }
        feed(decoder, Array(inputs.prefix(64)))
        let before = peakAddressSpaceKiB()
        feed(decoder, inputs)
        let growth = peakAddressSpaceKiB() - before
        invariant(growth <= 1_024, "\(decoder.name) grew by \(growth) KiB over \(inputs.count) inputs")
      }
    }
  }

  @Test func `planted: hazard 47: a decoder that believes its length is caught by the same measure`() async {
    await #expect(processExitsWith: .success) {
      let believing = Decoder("a believer") {
        [1, 0, 0, 0] + $0.bytes(1)
      } recode: { (input) throws(DecodeError) in
        try input.decode { (bytes) throws(DecodeError) in
          var reader = ByteReader(bytes)
          let count = Int(try reader.u32())
          var result: [UInt8] = []
          result.reserveCapacity(min(count, 64 << 20))
          result.append(contentsOf: try reader.view(reader.remaining))
          return result
        }
      }
      let before = peakAddressSpaceKiB()
      feed(believing, claims(believing))
      invariant(peakAddressSpaceKiB() - before > 1_024, "the measure is blind")
    }
  }
}
