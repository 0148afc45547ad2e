@testable import KVModel

/// Seeded draws of every noun, sizes small: a mutation in a short input is likelier to hit a field that matters.
extension PRNG {
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }

  /// Small, or of any size, or at an edge: where codecs and comparisons differ.
  mutating func number() -> UInt64 {
    switch below(4) {
    case 0: below(4)
    case 1: next()
    case 2: .max - below(2)
    default: next() >> below(64)
    }
  }

  mutating func pick<T>(_ items: [T]) -> T { items[index(items.count)] }

  mutating func optional<T>(_ draw: (inout PRNG) -> T) -> T? { chance(1, of: 2) ? draw(&self) : nil }

  mutating func list<T>(_ count: ClosedRange<UInt64>, _ draw: (inout PRNG) -> T) -> [T] {
    (0..<within(count)).map { _ in draw(&self) }
  }

  mutating func text(max: UInt64) -> String {
    let scalars = ["a", "Z", "0", "-", "é", "e\u{301}", "√", "🐟", "\0", " "]
    var text = ""
    for _ in 0..<below(12) { text += pick(scalars) }
    return text.utf8.count <= max ? text : "long"
  }

  mutating func key() -> Key {
    let partitionKey = bytes(Int(within(1...12)))
    let sortKey = chance(1, of: 2) ? bytes(Int(below(9))) : []
    do {
      return try Key(namespace: UInt16(below(3)), partitionKey: partitionKey, sortKey: sortKey)
    } catch { fatalError("a drawn key is refused: \(error)") }
  }

  mutating func actor() -> Actor { Actor(node: NodeID(within(1...4)), epoch: UInt32(below(3))) }

  mutating func dot() -> Dot { Dot(actor: actor(), counter: Swift.max(1, number())) }

  mutating func requestID() -> RequestID { RequestID(client: number(), sequence: number()) }

  mutating func vector() -> VersionVector {
    VersionVector(list(0...5) { VersionVector.Entry(actor: $0.actor(), counter: $0.number()) })
  }

  mutating func wall() -> WallTime { WallTime(milliseconds: Swift.max(1, number())) }

  mutating func version(_ dot: Dot) -> Version {
    let value = bytes(Int(below(20)))
    let isTombstone = chance(1, of: 4)
    var version = Version(
      dot: dot, stamp: Stamp(bits: number()), expiry: optional { $0.wall() }, requestID: requestID(),
      checksum: isTombstone ? 0 : Checksum.of(value), content: isTombstone ? .tombstone : .value(value))
    if !isTombstone, version.expiry != nil, chance(1, of: 3) { version.content = .swept }
    return version
  }

  mutating func record() -> Record {
    let dots = Set(list(0...4) { $0.dot() }).sorted()
    return Record(context: vector(), versions: dots.map { version($0) })
  }

  mutating func encodedRecord() -> EncodedRecord { EncodedRecord(record()) }

  mutating func token() -> ContextToken {
    ContextToken(
      cluster: ClusterID(number()), key: key(), vector: vector(), stamp: Stamp(bits: number()),
      secret: Generators.secret)
  }

  mutating func generation() -> Generation {
    Generation(number: number(), nonce: next(), predecessor: next())
  }
}

enum Generators {
  /// The secret that seals every generated token.
  static let secret = ClusterSecret(low: 0x0123_4567_89ab_cdef, high: 0xfedc_ba98_7654_3210)
}
