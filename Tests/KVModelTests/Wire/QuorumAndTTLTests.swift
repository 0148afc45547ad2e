import Testing

@testable import KVModel

/// Issue 2, bad input: "TTL of zero …, R or W above N …: each a clear typed error". So they must reach the node as what
/// they are. R and W of zero once travelled as "the cluster's quorum", and a TTL of zero as "for ever".
@Suite struct QuorumAndTTLTests {
  private func afterTheWire(_ request: ClientRequest) throws -> ClientRequest {
    var bytes: [UInt8] = []
    request.encode(into: &bytes)
    return try bytes.decode { (body) throws(DecodeError) in try ClientRequest(request.frameType, body) }
  }

  @Test func `a quorum of zero owners arrives as zero owners`() throws {
    let key = try Key([1])
    for quorum in [Quorum.owners(0), .owners(1), .owners(253), .quorum, .all] {
      #expect(try afterTheWire(.get(key, quorum)) == .get(key, quorum))
    }
  }

  @Test func `a number that would read as a word arrives as a number above every N`() throws {
    let key = try Key([1])
    for count in [254, 255] as [UInt8] {
      guard case .get(_, .owners(let arrived)) = try afterTheWire(.get(key, .owners(count))) else {
        Issue.record("\(count) owners became a word")
        continue
      }
      #expect(Int(arrived) > Limits.replication.upperBound)
    }
  }

  @Test func `a time to live of zero arrives as zero, and none as none`() throws {
    for ttlMs in [nil, 0, 1, Limits.ttlMsMax, .max - 1] as [UInt64?] {
      let write = WriteRequest(
        key: try Key([1]), requestID: RequestID(client: 1, sequence: 1), ttlMs: ttlMs, payload: .put([], checksum: 0))
      #expect(try afterTheWire(.write(write)) == .write(write))
    }
  }
}
