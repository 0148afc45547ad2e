import KVModel

/// GET and SET of redis. Replies name no request; they come in the order of the requests.
final class RESPWire: BenchWire {
  private var isReady = false
  private var waiting = RequestLine()

  func greet(at now: UInt64, into output: inout [UInt8]) {
    RESPWire.append(["PING"], to: &output)
  }

  func read(_ request: BenchRequest, into output: inout [UInt8]) {
    waiting.append(request.id)
    output.append(contentsOf: RESPWire.getHead)
    RESPWire.append(bulk: request.key, to: &output)
  }

  func write(
    _ request: BenchRequest, _ value: BenchValue, _ context: ContextToken?, into output: inout [UInt8]
  ) {
    waiting.append(request.id)
    output.append(contentsOf: RESPWire.setHead)
    RESPWire.append(bulk: request.key, to: &output)
    RESPWire.append(bulk: value.bytes, to: &output)
  }

  func next(in bytes: UnsafeRawBufferPointer, at now: UInt64) -> BenchIncoming {
    switch RESPReply.scan(bytes) {
    case .incomplete(let neededBytes): return .incomplete(neededBytes: neededBytes)
    case .malformed(let what):
      return .broken(BenchFault("protocol_mismatch", "what answers does not speak redis' protocol: \(what)"))
    case .reply(let reply, let count): return isReady ? onReply(reply, count) : onGreeting(reply, count)
    }
  }

  private func onGreeting(_ reply: RESPReply, _ count: Int) -> BenchIncoming {
    guard reply == .status("PONG") else {
      if case .error(let text) = reply { return .broken(BenchFault("refused", "PING was refused: \(text)")) }
      return .broken(BenchFault("protocol_mismatch", "PING was not answered by PONG"))
    }
    isReady = true
    return .ready(bytes: count)
  }

  private func onReply(_ reply: RESPReply, _ count: Int) -> BenchIncoming {
    guard let id = waiting.popFirst() else {
      return .broken(BenchFault("protocol_mismatch", "a reply came that nobody had asked for"))
    }
    let answer: BenchAnswer =
      switch reply {
      case .status: .written
      case .value: .found(nil)
      case .absent: .absent(nil)
      case .error(let text):
        .failed(BenchFault(String(text.prefix { $0 != " " }).lowercased(), "the server answered: \(text)"))
      }
    return .reply(BenchReply(id: id, answer: answer), bytes: count)
  }

  // MARK: Bytes

  private static let getHead = Array("*2\r\n$3\r\nGET\r\n".utf8)
  private static let setHead = Array("*3\r\n$3\r\nSET\r\n".utf8)

  private static func append(_ words: [String], to output: inout [UInt8]) {
    output.append(contentsOf: Array("*\(words.count)\r\n".utf8))
    for word in words { append(bulk: Array(word.utf8), to: &output) }
  }

  private static func append(bulk bytes: [UInt8], to output: inout [UInt8]) {
    output.append(UInt8(ascii: "$"))
    append(decimal: bytes.count, to: &output)
    output.append(UInt8(ascii: "\r"))
    output.append(UInt8(ascii: "\n"))
    output.append(contentsOf: bytes)
    output.append(UInt8(ascii: "\r"))
    output.append(UInt8(ascii: "\n"))
  }

  /// Without a `String` between.
  private static func append(decimal value: Int, to output: inout [UInt8]) {
    var scale = 1
    while value / scale >= 10 { scale *= 10 }
    while scale > 0 {
      output.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / scale % 10))
      scale /= 10
    }
  }
}

/// Ids in the order of their requests: a ring that grows and is used again.
struct RequestLine: Equatable {
  private var ring: [UInt64] = []
  private var head = 0
  private(set) var count = 0

  mutating func append(_ id: UInt64) {
    if count == ring.count { grow() }
    ring[(head + count) % ring.count] = id
    count += 1
  }

  mutating func popFirst() -> UInt64? {
    guard count > 0 else { return nil }
    defer {
      head = (head + 1) % ring.count
      count -= 1
    }
    return ring[head]
  }

  private mutating func grow() {
    let ordered = (0..<count).map { ring[(head + $0) % ring.count] }
    ring = ordered + [UInt64](repeating: 0, count: max(16, count))
    head = 0
  }
}
