import KVCore
import KVModel

/// How a scenario writes down what it sees: short, stable, readable.
enum Describe {
  static func dot(_ dot: Dot) -> String {
    "n\(dot.actor.node.value)\(dot.actor.epoch == 1 ? "" : ".\(dot.actor.epoch)"):\(dot.counter >> 8)"
  }

  static func vector(_ vector: VersionVector) -> String {
    "{" + vector.entries.map { dot(Dot(actor: $0.actor, counter: $0.counter)) }.joined(separator: " ") + "}"
  }

  static func text(_ bytes: some Collection<UInt8>) -> String {
    bytes.count > 40 ? "<\(bytes.count) bytes>" : String(decoding: bytes, as: UTF8.self)
  }

  static func version(_ version: Version) -> String {
    let content =
      switch version.content {
      case .value(let bytes): text(bytes)
      case .tombstone: "deleted"
      case .swept: "swept"
      }
    return "\(dot(version.dot))=\(content)"
  }

  static func record(_ encoded: EncodedRecord) -> String {
    guard let record = try? encoded.decoded() else { return "damaged" }
    if record.isEmpty { return "nothing" }
    return (record.versions.map(version) + [vector(record.context)]).joined(separator: " ")
  }

  static func key(_ key: Key) -> String { text(key.userBytes) }

  static func message(_ message: PeerMessage) -> String {
    switch message {
    case .replicaRead(let key, inlineBytesMax: let limit):
      "read \(self.key(key))\(limit == UInt32(Limits.recordBytesMax) ? " whole" : "")"
    case .replicaReadReply(.record(let record)): "has \(self.record(record))"
    case .replicaReadReply(.digest): "has a digest"
    case .replicaReadReply(.unreadable): "is unreadable"
    case .replicaReadReply(.incomplete(let record)): "may lack some of \(self.record(record))"
    case .replicaWrite(let write):
      "\(write.purpose == .repair ? "repair" : "write") \(key(write.key)) \(record(write.record))"
    case .replicaWriteReply(.stored(beside: nil)): "stored"
    case .replicaWriteReply(.contested): "contested"
    case .replicaWriteReply(.stored(beside: let beside?)): "stored beside \(vector(beside.history))"
    case .replicaWriteReply(.refused(let failure)): "refused \(failure.code)"
    case .forwarded(let request): "forwarded \(request.frameType) \(request.key.map(key) ?? "")"
    case .forwardedReply(let response): "forwarded reply: \(self.response(response))"
    case .requestCheck(let id, let key): "knows c\(id.sequence) of \(self.key(key))?"
    case .requestCheckReply(let reply): "\(reply)"
    case .tree(let message): "\(message.frameType)"
    case .handoff(.offer(let offer, _)): "offers \(offer.entries.map { key($0.key) }.joined(separator: " "))"
    case .handoff(.wanted(let places, _, _)): "wants \(places.count)"
    case .handoff(.declined(let reason, _, _)): "declines: \(reason)"
    case .ping: "ping"
    case .pong: "pong"
    }
  }

  static func response(_ response: ClientResponse) -> String {
    switch response {
    case .value(let answer):
      if answer.siblings.isEmpty { return "absent \(vector(answer.context.vector))" }
      return answer.siblings.map { $0.value.map { text($0) } ?? "deleted" }.joined(separator: " | ")
        + " \(vector(answer.context.vector))"
    case .written(let receipt):
      let siblings =
        switch receipt.siblings {
        case .absent: ""
        case .present: ", siblings"
        case .unknown: receipt.wasFound ? ", found applied" : ", siblings unknown"
        }
      return "written \(receipt.context.map { vector($0.vector) } ?? "beside others") by \(receipt.acknowledgements)"
        + siblings
    case .failed(let failure):
      let numbers = failure.needed > 0 ? " \(failure.got)/\(failure.needed)" : ""
      return "\(failure.outcome) \(failure.code)\(numbers)"
    case .explained(let views):
      return views.map { view in
        switch view.state {
        case .record(let record): "n\(view.node.value): \(self.record(record))"
        case .unreachable: "n\(view.node.value): unreachable"
        case .unreadable: "n\(view.node.value): unreadable"
        }
      }.joined(separator: "; ")
    case .described: return "described"
    case .layout: return "layout"
    case .done: return "done"
    case .reserved: return "reserved"
    case .repaired: return "repaired"
    }
  }
}
