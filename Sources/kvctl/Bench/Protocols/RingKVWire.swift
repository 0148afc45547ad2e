import KVModel

/// RingKV's binary protocol, through the codec that nodes use.
final class RingKVWire: BenchWire {
  /// What all connections of a run share.
  struct Terms: Sendable {
    var quorum: Quorum
    var cluster: ClusterID
    var layoutVersion: UInt32
    var partitionBits: Int
    /// Random: with the id of a request it names each write of this run.
    var client: UInt64
    /// Some writes follow reads, and carry their contexts. Otherwise replies of reads are not taken apart.
    var keepsContexts: Bool
  }

  private static let agent = "kvctl-bench/1"

  private let terms: Terms
  private var greetedAt: UInt64 = 0
  /// The node's monotonic milliseconds less ours; nil before its WELCOME.
  private var clockOffsetMs: Int64?

  init(_ terms: Terms) { self.terms = terms }

  func greet(at now: UInt64, into output: inout [UInt8]) {
    greetedAt = now
    let hello = Hello(client: RingKVWire.agent, cluster: terms.cluster)
    FrameHeader(type: .hello, requestID: 0).appendFrame(to: &output) { hello.encode(into: &$0) }
  }

  func read(_ request: BenchRequest, into output: inout [UInt8]) {
    append(request, to: &output) { (key: Key) in .get(key, terms.quorum) }
  }

  func write(
    _ request: BenchRequest, _ value: BenchValue, _ context: ContextToken?, into output: inout [UInt8]
  ) {
    append(request, to: &output) { (key: Key) in
      .write(
        WriteRequest(
          key: key, quorum: terms.quorum, requestID: RequestID(client: terms.client, sequence: request.id),
          context: context, payload: .put(value.bytes, checksum: value.checksum)))
    }
  }

  private func append(_ request: BenchRequest, to output: inout [UInt8], _ make: (Key) -> ClientRequest) {
    // Sizes are checked when the run is planned, so every key of a run is one.
    guard let key = try? Key(request.key) else { fatalError("a bench key of \(request.key.count) bytes") }
    let body = make(key)
    let header = FrameHeader(
      type: body.frameType, requestID: request.id, deadlineMs: deadlineMs(request.deadline),
      layoutVersion: terms.layoutVersion, partition: key.token.partition(bits: terms.partitionBits))
    header.appendFrame(to: &output) { body.encode(into: &$0) }
  }

  /// On the node's clock.
  private func deadlineMs(_ deadline: UInt64) -> UInt64 {
    UInt64(bitPattern: Int64(bitPattern: deadline / 1_000_000) &+ (clockOffsetMs ?? 0))
  }

  // MARK: Replies

  func next(in bytes: UnsafeRawBufferPointer, at now: UInt64) -> BenchIncoming {
    let bodyBytesMax = clockOffsetMs == nil ? Limits.bodyBytesMaxBeforeHello : Limits.recordBytesMax + (64 << 10)
    switch FrameScan.next(in: bytes, bodyBytesMax: bodyBytesMax) {
    case .incomplete(let neededBytes):
      return .incomplete(neededBytes: neededBytes > FrameHeader.bytes ? neededBytes : 0)
    case .malformed(let error): return RingKVWire.unreadable(error)
    case .frame(let header, let body, let frameBytes):
      do throws(DecodeError) { return try onFrame(header, body, frameBytes, now) } catch {
        return RingKVWire.unreadable(error)
      }
    }
  }

  private static func unreadable(_ error: DecodeError) -> BenchIncoming {
    .broken(BenchFault("protocol_mismatch", "what answers does not speak RingKV's protocol (\(error))"))
  }

  private func onFrame(
    _ header: FrameHeader, _ body: UnsafeRawBufferPointer, _ bytes: Int, _ now: UInt64
  ) throws(DecodeError) -> BenchIncoming {
    switch header.type {
    case .welcome:
      guard clockOffsetMs == nil else { throw .unknownTag(header.type.rawValue) }
      let welcome = try Welcome(body)
      guard welcome.cluster == terms.cluster else {
        return .broken(BenchFault("not_member", "the node is no member of cluster \(terms.cluster)"))
      }
      let middle = greetedAt + (now - greetedAt) / 2
      clockOffsetMs = Int64(bitPattern: welcome.clockMs) &- Int64(bitPattern: middle / 1_000_000)
      return .ready(bytes: bytes)
    case .refused: return .broken(BenchFault("refused", "a node refused the connection: \(try Refusal(body).detail)"))
    case .goAway: return .leaving(bytes: bytes)
    case .pong: return .aside(answer: [], bytes: bytes)
    case .ping:
      var answer: [UInt8] = []
      FrameHeader(type: .pong, requestID: header.requestID).appendFrame(to: &answer) { _ in }
      return .aside(answer: answer, bytes: bytes)
    default: return .reply(BenchReply(id: header.requestID, answer: try answer(header.type, body)), bytes: bytes)
    }
  }

  private func answer(_ type: FrameType, _ body: UnsafeRawBufferPointer) throws(DecodeError) -> BenchAnswer {
    switch type {
    case .value where !terms.keepsContexts: try ReadAnswer.hasValue(in: body) ? .found(nil) : .absent(nil)
    case .written: .written
    default: RingKVWire.answer(try ClientResponse(type, body))
    }
  }

  static func answer(_ response: ClientResponse) -> BenchAnswer {
    switch response {
    case .value(let read):
      return read.siblings.contains { $0.value != nil } ? .found(read.context) : .absent(read.context)
    case .written: return .written
    case .failed(let failure): return .failed(BenchFault(failure))
    case .explained, .described, .layout, .done, .reserved, .repaired:
      return .failed(BenchFault("protocol_mismatch", "the node answered another question than was asked"))
    }
  }
}

extension BenchFault {
  init(_ failure: Failure) {
    let code = BenchFault.snake("\(failure.code)")
    let counts = failure.needed > 0 ? " (\(failure.got) of \(failure.needed) owners)" : ""
    self.init(code, (failure.detail.isEmpty ? code : failure.detail) + counts)
  }

  /// `tooManySiblings` as too_many_siblings, `invalidTTL` as invalid_ttl: the codes of `KVError`.
  static func snake(_ name: String) -> String {
    var (text, wasLower) = ("", false)
    for letter in name {
      if letter.isUppercase, wasLower { text.append("_") }
      text += letter.lowercased()
      wasLower = letter.isLowercase
    }
    return text
  }
}
