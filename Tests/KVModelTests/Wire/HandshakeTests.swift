import Testing

@testable import KVModel

@Suite struct HandshakeTests {
  private func hello(shard: UInt16, shards: UInt16) throws(DecodeError) -> Hello {
    let hello = Hello(
      role: .peer, cluster: ClusterID(1), node: NodeID(2), expected: NodeID(3),
      generation: Generation(number: 1, nonce: 2, predecessor: 3), shard: shard, shards: shards, clockMs: 4,
      agent: "kvnode")
    var bytes: [UInt8] = []
    hello.encode(into: &bytes)
    return try bytes.decode(Hello.init)
  }

  /// `PartitionID.shard(of:)` divides by it: zero would be a remote crash.
  @Test func `a peer that claims no loops, or a loop that it does not have, is refused`() {
    #expect(throws: DecodeError.outOfBounds) { try hello(shard: 0, shards: 0) }
    #expect(throws: DecodeError.outOfBounds) { try hello(shard: 2, shards: 2) }
    #expect(throws: DecodeError.outOfBounds) { try hello(shard: 0, shards: 257) }
    #expect(throws: Never.self) { try hello(shard: 255, shards: 256) }
  }

  @Test func `a welcome of another revision is refused by its number, whatever follows it`() {
    let bytes = Array("RINGKV\r\n".utf8) + [2]
    #expect(throws: DecodeError.unknownRevision(2)) { try bytes.decode(Welcome.init) }
  }

  @Test func `a stranger's first bytes are not our protocol`() {
    let http = Array("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8)
    #expect(throws: DecodeError.badMagic) { try http.decode(Hello.init) }
    // As a frame header they name a body of half a gigabyte and a type that nobody defined.
    #expect(throws: DecodeError.self) {
      try Array((http + http).prefix(40)).decode { (bytes) throws(DecodeError) in
        try FrameHeader(bytes, bodyBytesMax: Limits.bodyBytesMaxBeforeHello)
      }
    }
  }

  @Test func `a body above the bound is refused by its header`() throws {
    var frame: [UInt8] = []
    FrameHeader(type: .hello, requestID: 0).appendFrame(to: &frame) { $0 += [UInt8](repeating: 0, count: 100) }
    let header = Array(frame[..<40])
    func read(max: Int) throws(DecodeError) -> FrameHeader {
      try header.decode { (bytes) throws(DecodeError) in try FrameHeader(bytes, bodyBytesMax: max) }
    }
    #expect(throws: DecodeError.outOfBounds) { try read(max: 99) }
    #expect(try read(max: 100).bodyBytes == 100)
  }

  @Test func `revisions are spoken when the current one lies in the range offered`() {
    var hello = Hello(client: "test")
    #expect(hello.speaksCurrentRevision)
    hello.lowestRevision = 2
    hello.highestRevision = 4
    #expect(!hello.speaksCurrentRevision)
  }
}
