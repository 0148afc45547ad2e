import Testing

@testable import KVModel

/// DESIGN.md §1, §4: "Storage order is ring order".
@Suite struct KeyTests {
  @Test func `keys of 0 and 257 bytes are refused, of 1 and 256 accepted`() throws {
    #expect(throws: Key.Fault.empty) { try Key([]) }
    #expect(throws: Key.Fault.empty) { try Key(partitionKey: [], sortKey: [1]) }
    #expect(throws: Key.Fault.tooLong(bytes: 257)) { try Key([UInt8](repeating: 1, count: 257)) }
    #expect(throws: Key.Fault.tooLong(bytes: 257)) {
      try Key(partitionKey: [1], sortKey: [UInt8](repeating: 1, count: 256))
    }
    #expect(throws: Key.Fault.tooLong(bytes: 70_001)) { try Key([UInt8](repeating: 1, count: 70_001)) }
    #expect(try Key([9]).userBytes == [9])
    #expect(try Key([UInt8](repeating: 7, count: 256)).userBytes.count == 256)
    let split = try Key(partitionKey: [1], sortKey: [UInt8](repeating: 2, count: 255))
    #expect(split.partitionKey == [1] && split.sortKey.count == 255)
  }

  @Test func `the wire refuses the lengths that the type refuses`() {
    func decode(_ partitionKey: Int, _ sortKey: Int) throws(DecodeError) -> Key {
      var bytes: [UInt8] = []
      bytes.append(integer: UInt16(0))
      bytes.append(integer: UInt16(partitionKey))
      bytes.append(integer: UInt16(sortKey))
      bytes += [UInt8](repeating: 5, count: partitionKey + sortKey)
      return try bytes.decode { (body) throws(DecodeError) in
        var reader = ByteReader(body)
        return try Key(from: &reader)
      }
    }
    for (partitionKey, sortKey) in [(0, 0), (0, 1), (257, 0), (256, 1), (1, 256), (65_535, 65_535)] {
      #expect(throws: DecodeError.invalidKey) { try decode(partitionKey, sortKey) }
    }
    for (partitionKey, sortKey) in [(1, 0), (256, 0), (1, 255), (128, 128)] {
      #expect(throws: Never.self) { try decode(partitionKey, sortKey) }
    }
  }

  @Test func `a key gives back its parts, and parts that differ make keys that differ`() throws {
    var random = PRNG(seed: 50)
    var parts: [Key: String] = [:]
    for _ in 0..<20_000 {
      let (namespace, partitionKey) = (UInt16(random.below(3)), random.list(1...3) { UInt8($0.below(3)) })
      let sortKey = random.list(0...3) { UInt8($0.below(3)) }
      let key = try Key(namespace: namespace, partitionKey: partitionKey, sortKey: sortKey)
      #expect(key.namespace == namespace && Array(key.partitionKey) == partitionKey && Array(key.sortKey) == sortKey)
      #expect(key.token == partitionKey.withUnsafeBytes { Token(partitionKey: $0) })
      let name = "\(namespace) \(partitionKey) \(sortKey)"
      #expect(parts.updateValue(name, forKey: key) ?? name == name)
    }
  }

  @Test func `storage order is the order of token, namespace, length of the partition key, partition key, sort key`() {
    var random = PRNG(seed: 51)
    let keys = (0..<3_000).map { _ in random.key() }
    let stored = keys.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
    let ring = keys.sorted { a, b in
      if a.token != b.token { return a.token < b.token }
      if a.namespace != b.namespace { return a.namespace < b.namespace }
      if a.partitionKey.count != b.partitionKey.count { return a.partitionKey.count < b.partitionKey.count }
      if a.partitionKey != b.partitionKey { return a.partitionKey.lexicographicallyPrecedes(b.partitionKey) }
      return a.sortKey.lexicographicallyPrecedes(b.sortKey)
    }
    #expect(stored == ring)
  }

  @Test func `sort keys are in order under their partition key, and lie together`() throws {
    let sortKeys: [[UInt8]] = [[], [0], [0, 0], [1], [1, 0], [255], [255, 255]]
    let keys = try sortKeys.map { try Key(partitionKey: [4, 2], sortKey: $0).bytes }
    for (a, b) in zip(keys, keys.dropFirst()) { #expect(a.lexicographicallyPrecedes(b)) }
  }

  @Test(arguments: [4, 10, 16], [0, 6, 16])
  func `partitions and their leaves are contiguous slices of storage order`(partitionBits: Int, leafBits: Int) {
    var random = PRNG(seed: 52)
    let keys = (0..<2_000).map { _ in random.key() }.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
    var last: (PartitionID, UInt32) = (PartitionID(0), 0)
    for key in keys {
      let place = (
        key.token.partition(bits: partitionBits),
        key.token.leaf(partitionBits: partitionBits, leafBits: leafBits)
      )
      #expect(Int(place.0.index) < 1 << partitionBits && Int(place.1) < 1 << leafBits)
      #expect(last <= place)
      #expect(UInt64(place.0.index) == key.token.position >> UInt64(64 - partitionBits))
      last = place
    }
    for edge in [Token(0), Token(.max), Token(1 << 63), Token((1 << 63) - 1)] {
      let whole =
        UInt64(edge.partition(bits: partitionBits).index) << UInt64(leafBits)
        | UInt64(edge.leaf(partitionBits: partitionBits, leafBits: leafBits))
      #expect(whole == edge.position >> UInt64(64 - partitionBits - leafBits))
    }
  }

  @Test func `a stored key whose token does not follow from it is refused`() throws {
    var bytes = try Key([1, 2, 3]).bytes
    bytes[0] ^= 1
    #expect(throws: DecodeError.notCanonical) {
      try bytes.decode { (bytes) throws(DecodeError) in try Key(storageBytes: bytes) }
    }
  }
}
