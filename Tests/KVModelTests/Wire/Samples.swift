@testable import KVModel

/// What a frame of a type may carry: one case for each codec.
enum Body: Equatable {
  case hello(Hello)
  case welcome(Welcome)
  case refusal(Refusal)
  case request(ClientRequest)
  case response(ClientResponse)
  case peer(PeerMessage)
  case control(ControlMessage)
  /// GOAWAY and CANCEL say all in their header.
  case nothing

  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .hello(let hello): hello.encode(into: &bytes)
    case .welcome(let welcome): welcome.encode(into: &bytes)
    case .refusal(let refusal): refusal.encode(into: &bytes)
    case .request(let request): request.encode(into: &bytes)
    case .response(let response): response.encode(into: &bytes)
    case .peer(let message): message.encode(into: &bytes)
    case .control(let message): message.encode(into: &bytes)
    case .nothing: break
    }
  }

  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    encode(into: &bytes)
    return bytes
  }

  /// Decodes the body of a frame of type `type` with the codec that owns it.
  init(_ type: FrameType, _ bytes: [UInt8]) throws(DecodeError) {
    switch type {
    case .hello: self = .hello(try bytes.decode(Hello.init))
    case .welcome: self = .welcome(try bytes.decode(Welcome.init))
    case .refused: self = .refusal(try bytes.decode(Refusal.init))
    case .goAway, .cancel:
      guard bytes.isEmpty else { throw .trailingBytes }
      self = .nothing
    case .get, .put, .delete, .explain, .describe, .fetchLayout, .reserveCluster, .formCluster, .repair:
      self = .request(try bytes.decode { (body) throws(DecodeError) in try ClientRequest(type, body) })
    case .value, .written, .failed, .explained, .described, .layout, .done, .reserved, .repaired:
      self = .response(try bytes.decode { (body) throws(DecodeError) in try ClientResponse(type, body) })
    case .ping, .pong, .replicaRead, .replicaReadReply, .replicaWrite, .replicaWriteReply, .forwarded, .forwardedReply,
      .requestCheck, .requestCheckReply, .treeCompare, .treeDiffering, .leafList, .leafListed, .treeDeclined,
      .treeGaps, .treeGapsKnown, .treeRoots, .hintOffer, .hintWanted, .hintDeclined:
      self = .peer(try bytes.decode { (body) throws(DecodeError) in try PeerMessage(type, body) })
    case .claim, .verdict, .gossipPing, .gossipAck, .gossipAsk, .gossipNack, .gossipPush, .gossipPull, .visit, .visited:
      self = .control(try bytes.decode { (body) throws(DecodeError) in try ControlMessage(type, body) })
    }
  }

  /// The type that the message itself names; nil for those that name none.
  var namedType: FrameType? {
    switch self {
    case .request(let request): request.frameType
    case .response(let response): response.frameType
    case .peer(let message): message.frameType
    case .control(let message): message.frameType
    case .hello, .welcome, .refusal, .nothing: nil
    }
  }
}

extension PRNG {
  /// A valid body of a frame of type `type`. The switch has no `default`: a new type does not build without a sample.
  mutating func body(_ type: FrameType) -> Body {
    switch type {
    case .hello: .hello(hello())
    case .welcome: .welcome(welcome())
    case .refused: .refusal(refusal())
    case .goAway, .cancel: .nothing
    case .claim:
      .control(
        .claim(
          GenerationClaim(
            generation: generation(), ancestors: list(0...64) { $0.next() }, isConfirmed: chance(1, of: 2))))
    case .verdict:
      .control(.verdict(pick([.accepted, .refused(known: generation()), .cannotTell]), onNonce: number()))
    case .gossipPing, .gossipAck, .gossipAsk, .gossipNack, .gossipPush, .gossipPull: .control(.gossip(gossip(type)))
    case .visit: .control(.visit)
    case .visited:
      .control(.visited(optional { Visit(layout: $0.layout(), members: $0.memberTable()) }))
    case .treeCompare, .treeDiffering, .leafList, .leafListed, .treeDeclined, .treeGaps, .treeGapsKnown, .treeRoots:
      .peer(.tree(tree(type)))
    case .hintOffer, .hintWanted, .hintDeclined: .peer(.handoff(handoff(type)))
    case .ping: .peer(.ping(clockMs: number()))
    case .pong: .peer(.pong(clockMs: number()))
    case .get, .put, .delete, .explain, .describe, .fetchLayout, .reserveCluster, .formCluster, .repair:
      .request(request(type))
    case .value, .written, .failed, .explained, .described, .layout, .done, .reserved, .repaired:
      .response(response(type))
    case .replicaRead: .peer(.replicaRead(key(), inlineBytesMax: UInt32(truncatingIfNeeded: number())))
    case .replicaReadReply:
      .peer(
        .replicaReadReply(
          pick([.record(encodedRecord()), .digest(digest()), .unreadable, .incomplete(encodedRecord())])))
    case .replicaWrite:
      .peer(
        .replicaWrite(
          ReplicaWrite(key: key(), purpose: optional { .write(minted: $0.dot()) } ?? .repair, record: encodedRecord())))
    case .replicaWriteReply:
      .peer(
        .replicaWriteReply(
          pick([
            .stored(beside: nil), .refused(failure()),
            .stored(beside: Beside(history: vector(), stamp: Stamp(bits: number()))),
          ])))
    case .forwarded: .peer(.forwarded(request(pick([.get, .put, .delete, .explain]))))
    case .forwardedReply: .peer(.forwardedReply(response(pick([.value, .written, .failed, .explained]))))
    case .requestCheck: .peer(.requestCheck(requestID(), key()))
    case .requestCheckReply: .peer(.requestCheckReply(pick([.notSeen, .seen, .cannotTell])))
    }
  }

  private mutating func tree(_ type: FrameType) -> TreeMessage {
    let question = UInt32(truncatingIfNeeded: next())
    let partition = PartitionID(UInt16(truncatingIfNeeded: next()))
    switch type {
    case .treeCompare:
      return .compare(
        partition,
        list(0...9) { draw in
          let depth = Int(draw.below(17))
          return TreeDigest(
            node: TreeNode(depth: depth, index: UInt32(draw.below(1 << UInt64(depth)))), digest: draw.digest())
        }, question: question)
    case .treeRoots:
      let partitions = Set(list(1...9) { UInt16(truncatingIfNeeded: $0.next()) }).sorted()
      return .roots(
        partitions.map { RootDigest(partition: PartitionID($0), digest: digest()) }, question: question)
    case .treeDiffering: return .differing(Set(list(0...9) { UInt16($0.below(256)) }).sorted(), question: question)
    case .leafList:
      return .list(
        partition, leaf: UInt32(below(65_536)), after: optional { $0.key() }, limit: UInt16(within(1...256)),
        question: question)
    case .leafListed:
      let keys = Set(list(0...5) { $0.key() }).sorted()
      let entries = keys.map { LeafPage.Entry(key: $0, digest: digest()) }
      return .listed(LeafPage(entries: entries, isLast: chance(1, of: 2)), question: question)
    case .treeDeclined: return .declined(question: question)
    case .treeGaps: return .askGaps(partition, question: question)
    case .treeGapsKnown:
      let gaps = PartitionGaps(isWhole: chance(1, of: 2), keys: Set(list(0...5) { $0.key() }).sorted())
      return .gaps(gaps, question: question)
    default: fatalError("\(type) is not about trees")
    }
  }

  private mutating func handoff(_ type: FrameType) -> HandoffMessage {
    let question = UInt32(truncatingIfNeeded: next())
    let credit = HintCredit(
      keys: UInt16(below(257)), bytes: UInt32(truncatingIfNeeded: next()), pauseMs: UInt16(truncatingIfNeeded: next()))
    switch type {
    case .hintOffer:
      let keys = Set(list(1...5) { $0.key() }).sorted()
      let entries = keys.map { HintOffer.Entry(key: $0, digest: digest(), bytes: UInt32(below(64 << 20))) }
      let partition = PartitionID(UInt16(truncatingIfNeeded: next()))
      return .offer(HintOffer(target: NodeID(number()), partition: partition, entries: entries), question: question)
    case .hintWanted:
      return .wanted(Set(list(0...9) { UInt16($0.below(256)) }).sorted(), credit, question: question)
    case .hintDeclined: return .declined(pick(HandoffMessage.Reason.allCases), credit, question: question)
    default: fatalError("\(type) is not about hints")
    }
  }

  private mutating func request(_ type: FrameType) -> ClientRequest {
    switch type {
    case .get: return .get(key(), quorum())
    case .put, .delete:
      var write = write()
      while (write.payload == .delete) != (type == .delete) { write = self.write() }
      return .write(write)
    case .explain: return .explain(key())
    case .describe: return .describe
    case .fetchLayout: return .fetchLayout
    case .reserveCluster: return .reserveCluster(ClusterID(number()))
    case .formCluster: return .formCluster(layout(), ClusterSecret(low: number(), high: number()))
    case .repair: return .repair(repairRequest())
    default: fatalError("\(type) is no request")
    }
  }

  private mutating func response(_ type: FrameType) -> ClientResponse {
    switch type {
    case .value: return .value(answer())
    case .written:
      return .written(
        Receipt(
          context: token(), stamp: Stamp(bits: number()), acknowledgements: UInt8(below(8)), hints: UInt8(below(8)),
          siblings: pick([.absent, .present, .unknown]), wasFound: chance(1, of: 2)))
    case .failed: return .failed(failure())
    case .explained: return .explained(list(0...3) { $0.replicaView() })
    case .described: return .described(description())
    case .layout:
      let layout = layout()
      return .layout(layout, table(of: layout))
    case .done: return .done
    case .reserved: return .reserved(chance(1, of: 2) ? nil : ClusterSecret(low: number(), high: number()))
    case .repaired: return .repaired(repairAnswer())
    default: fatalError("\(type) is no reply")
    }
  }
}
