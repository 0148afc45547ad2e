import KVModel
import Testing

@testable import KVClient

@Suite struct `Base64 of tokens` {
  @Test func `all lengths and bytes come back`() {
    var random = PRNG(seed: 7)
    for count in 0..<300 {
      let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      #expect(Base64URL.decode(Base64URL.encode(bytes)) == bytes)
    }
  }

  @Test(arguments: [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")])
  func `the vectors of RFC 4648`(text: String, encoded: String) {
    #expect(Base64URL.encode(Array(text.utf8)) == encoded)
  }

  @Test(arguments: ["Zg=", "Z", "Zh", "Z g", "Zm9+", "Zm9v\n", "Zürich"])
  func `what no encoder writes is not read`(text: String) {
    #expect(Base64URL.decode(text) == nil)
  }
}

@Suite struct `Open calls` {
  private func call() -> Call { Call(.describe, .any, within: .zero) }

  @Test func `an id finds its call until it ends, and never the next one in its slot`() {
    var calls = Slots<Call>()
    let (first, second) = (call(), call())
    let id = calls.add(first)
    #expect(calls[id] === first)
    calls.remove(id)
    #expect(calls[id] == nil)
    let next = calls.add(second)
    #expect(next != id)
    #expect(calls[next] === second)
    #expect(calls[id] == nil)
    #expect(calls.count == 1)
  }

  @Test func `ids that were never given out find nothing`() {
    var calls = Slots<Call>()
    #expect(calls[0] == nil)
    _ = calls.add(call())
    for id in [0, 1, UInt64.max, 5 << 32] { #expect(calls[id] == nil) }
  }
}

@Suite struct `Incoming frames` {
  @Test func `a long claim takes memory only as bytes come`() throws {
    var bytes: [UInt8] = []
    FrameHeader(type: .value, requestID: 1).appendFrame(to: &bytes) { $0.append(contentsOf: [1, 2, 3]) }
    bytes.patch(UInt32(60 << 20), at: 0)
    let step = try bytes.decode { input throws(DecodeError) in
      guard case .incomplete(let needed) = try IncomingFrame(input, bodyBytesMax: 64 << 20) else { return 0 }
      return needed
    }
    #expect(step == 1 << 20)
  }

  @Test func `no mutation of a frame passes for another one`() throws {
    var whole: [UInt8] = []
    FrameHeader(type: .done, requestID: 9).appendFrame(to: &whole) { $0.append(contentsOf: [5, 6, 7]) }
    for place in whole.indices {
      for bit in 0..<8 {
        var bytes = whole
        bytes[place] ^= 1 << UInt8(bit)
        let isWhole = try? bytes.decode { input throws(DecodeError) in
          if case .whole = try IncomingFrame(input, bodyBytesMax: 1 << 20) { true } else { false }
        }
        #expect(isWhole != true, "bit \(bit) of byte \(place)")
      }
    }
  }
}

@Suite struct `Client errors` {
  @Test func `what may be applied already is never retryable`() {
    #expect(KVError(.timedOut, "late").isRetryable)
    #expect(!KVError(.timedOut, "late", outcome: .unknown).isRetryable)
    #expect(!KVError(.invalidKey, "empty").isRetryable)
  }

  @Test func `a description tells the attempts and the outcome`() {
    let error = KVError(
      .unreachable, "nobody there", outcome: .unknown,
      attempts: [.init(node: "n1", elapsed: .milliseconds(12), code: .timedOut)])
    #expect("\(error)".contains("n1 after 12 ms: timed_out"))
    #expect("\(error)".contains("outcome unknown"))
  }

  @Test func `durations become spans without a trap`() {
    #expect(Span64(.seconds(-5)) == .zero)
    #expect(Span64(.seconds(Int64.max)).nanoseconds == UInt64(Int64.max))
    #expect(Span64(.milliseconds(1_500)) == .milliseconds(1_500))
  }
}
