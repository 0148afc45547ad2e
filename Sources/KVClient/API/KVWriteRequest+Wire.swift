package import KVModel

extension KVWriteRequest {
  /// The request as nodes see it; refuses what every node would refuse.
  package func modelRequest(id: RequestID) throws(KVError) -> WriteRequest {
    var request = WriteRequest(
      key: try key.modelKey(), quorum: try consistency.modelQuorum(), requestID: id, context: context?.token,
      payload: .delete)
    switch operation {
    case .delete: break
    case .put(let value, let ttl):
      guard value.count <= Limits.valueBytesMax else {
        throw KVError(.valueTooLarge, "the value has \(value.count) bytes; the most is \(Limits.valueBytesMax)")
      }
      request.ttlMs = try KVWriteRequest.ttlMs(ttl)
      request.payload = .put(value, checksum: Checksum.of(value))
    }
    return request
  }

  private static func ttlMs(_ ttl: Duration?) throws(KVError) -> UInt64? {
    guard let ttl else { return nil }
    guard ttl > .zero else {
      throw KVError(.invalidTTL, "the time to live is not above zero; leave it out for a value that stays")
    }
    guard ttl <= .milliseconds(Int64(Limits.ttlMsMax)) else {
      throw KVError(.invalidTTL, "the time to live is above ten years; leave it out for a value that stays")
    }
    return max(1, Span64(ttl).milliseconds)
  }
}
