import KVModel

/// The keys of a benchmark: `user` and the record's number in decimal digits, all of one length.
struct KeyMaker: Sendable {
  static let prefix = Array("user".utf8)
  /// Sizes that leave room for some digits and that a node takes.
  static let sizes = 8...Limits.keyBytesMax

  let size: Int

  /// Records that keys of this size can name.
  var recordsMax: UInt64 {
    var count: UInt64 = 1
    for _ in 0..<min(size - KeyMaker.prefix.count, 18) { count *= 10 }
    return count
  }

  /// Writes the key of a record over `buffer`, whose memory is used again.
  func make(_ record: UInt64, into buffer: inout [UInt8]) {
    if buffer.count != size { buffer = KeyMaker.prefix + [UInt8](repeating: 0, count: size - KeyMaker.prefix.count) }
    var rest = record
    for place in stride(from: size - 1, through: KeyMaker.prefix.count, by: -1) {
      buffer[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    }
  }

  func key(of record: UInt64) -> [UInt8] {
    var buffer: [UInt8] = []
    make(record, into: &buffer)
    return buffer
  }
}

/// A value and its checksum, made once and written many times.
struct BenchValue: Sendable {
  let bytes: [UInt8]
  let checksum: UInt64
}

/// Values that no compression makes smaller: a pool of pseudo-random ones, so that making them is no part of the cost of
/// an operation.
struct ValuePool: Sendable {
  /// A pool takes this much, bytes, unless 16 values are more.
  private static let poolBytes = 4 << 20
  private static let counts = 16...1_024

  private let values: [BenchValue]

  init(valueSize: Int, seed: UInt64) {
    var random = PRNG(seed: seed)
    let wanted = ValuePool.poolBytes / max(1, valueSize)
    let count = min(max(wanted, ValuePool.counts.lowerBound), ValuePool.counts.upperBound)
    values = (0..<count).map { _ in
      let bytes = ValuePool.bytes(valueSize, &random)
      return BenchValue(bytes: bytes, checksum: Checksum.of(bytes))
    }
  }

  func next(_ random: inout PRNG) -> BenchValue { values[random.index(values.count)] }

  private static func bytes(_ count: Int, _ random: inout PRNG) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count { bytes.append(integer: random.next()) }
    bytes.removeLast(bytes.count - count)
    return bytes
  }
}
