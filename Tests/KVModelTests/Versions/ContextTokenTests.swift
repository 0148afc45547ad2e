import Testing

@testable import KVModel

/// DESIGN.md §5: "A token is bound to cluster, namespace and key; another key's token is invalidContext".
@Suite struct ContextTokenTests {
  @Test func `a token belongs to its key and cluster, and to no other`() throws {
    let cluster = ClusterID(7)
    let key = try Key(namespace: 0, partitionKey: Array("ab".utf8), sortKey: Array("c".utf8))
    let token = ContextToken(
      cluster: cluster, key: key, vector: VersionVector(), stamp: .zero, secret: ClusterSecret(low: 1, high: 2))
    #expect(token.belongs(to: key, of: cluster))
    #expect(!token.belongs(to: key, of: ClusterID(8)))
    #expect(!token.belongs(to: try Key(namespace: 1, partitionKey: Array("ab".utf8), sortKey: [0x63]), of: cluster))
    #expect(
      !token.belongs(to: try Key(namespace: 0, partitionKey: Array("a".utf8), sortKey: Array("bc".utf8)), of: cluster))
    #expect(!token.belongs(to: try Key(Array("abc".utf8)), of: cluster))
    // Only the fingerprint is compared, and it is seeded: the same key of another cluster has another.
    #expect(key.fingerprint(seed: 7) != key.fingerprint(seed: 8))
  }

  @Test func `every flipped bit, every cut and every byte too many of a token is refused`() throws {
    var random = PRNG(seed: 40)
    for _ in 0..<100 {
      let token = random.token()
      let bytes = token.bytes
      #expect(token.isSealed(by: Generators.secret))
      for bit in 0..<(bytes.count * 8) {
        var flipped = bytes
        flipped[bit / 8] ^= 1 << (bit % 8)
        let changed = try? ContextToken(bytes: flipped)
        #expect(changed?.isSealed(by: Generators.secret) != true)
      }
      for count in 0..<bytes.count {
        #expect(throws: DecodeError.self) { try ContextToken(bytes: Array(bytes[..<count])) }
      }
      #expect(throws: DecodeError.self) { try ContextToken(bytes: bytes + [0]) }
    }
  }

  @Test func `the longest token is taken, a longer one is refused before it is read`() throws {
    let key = try Key([1])
    func token(_ entries: Int) -> ContextToken {
      let vector = VersionVector(
        (0..<UInt64(entries)).map { .init(actor: Actor(node: NodeID($0), epoch: 0), counter: 1) })
      return ContextToken(
        cluster: ClusterID(1), key: key, vector: vector, stamp: .zero, secret: ClusterSecret(low: 1, high: 2))
    }
    let longest = token(Limits.contextEntriesMax)
    #expect(longest.bytes.count == ContextToken.bytesMax)
    #expect(try ContextToken(bytes: longest.bytes) == longest)
    #expect(throws: DecodeError.outOfBounds) { try ContextToken(bytes: token(Limits.contextEntriesMax + 1).bytes) }
  }

  /// A made-up history could cover versions that are yet to be written: acknowledged, they would vanish.
  @Test func `a token made without the cluster's secret is recognised`() throws {
    let key = try Key([1])
    let history = VersionVector([.init(actor: Actor(node: NodeID(1), epoch: 1), counter: .max)])
    for guess in [ClusterSecret.none, ClusterSecret(low: 1, high: 0), ClusterSecret(low: 0, high: 1)] {
      let forged = ContextToken(cluster: ClusterID(1), key: key, vector: history, stamp: .zero, secret: guess)
      #expect(!forged.isSealed(by: Generators.secret))
    }
  }

  @Test func `a token of another revision is refused by its number`() {
    #expect(throws: DecodeError.unknownRevision(9)) { try ContextToken(bytes: [9] + [UInt8](repeating: 0, count: 34)) }
  }
}
