@testable import KVModel

/// Draws of malformed inputs from well-formed ones.
enum Mutation: CaseIterable {
  case flip, flips, truncate, extend, splice, zeroField, fillField, hugeField, countField, noise, swap

  /// `a` damaged; `b` is another valid input of the same decoder.
  func apply(to a: [UInt8], _ b: [UInt8], with random: inout PRNG) -> [UInt8] {
    if self == .noise { return random.bytes(Int(random.below(96))) }
    guard !a.isEmpty else { return random.bytes(Int(random.within(1...8))) }
    var bytes = a
    switch self {
    case .flip: bytes[random.index(bytes.count)] ^= 1 << UInt8(random.below(8))
    case .flips: for _ in 0...random.below(6) { bytes[random.index(bytes.count)] ^= UInt8(random.within(1...255)) }
    case .truncate: bytes.removeLast(Int(random.within(1...UInt64(bytes.count))))
    case .extend: bytes += random.bytes(Int(random.within(1...40)))
    case .splice: bytes = Array(a[..<random.index(a.count)]) + b.suffix(Int(random.below(UInt64(b.count) + 1)))
    case .zeroField: fill(&bytes, 0, with: &random)
    case .fillField: fill(&bytes, 0xff, with: &random)
    case .hugeField: fill(&bytes, random.pick([0x7f, 0x80, 0xfe]), with: &random)
    case .countField:
      // One more or one less: the off-by-one of a length.
      let place = random.index(bytes.count)
      bytes[place] = random.chance(1, of: 2) ? bytes[place] &+ 1 : bytes[place] &- 1
    case .swap: bytes.swapAt(random.index(bytes.count), random.index(bytes.count))
    case .noise: break
    }
    return bytes
  }

  private func fill(_ bytes: inout [UInt8], _ value: UInt8, with random: inout PRNG) {
    let start = random.index(bytes.count)
    let width = random.pick([1, 2, 4, 8])
    for place in start..<min(start + width, bytes.count) { bytes[place] = value }
  }
}

/// Makes checksums agree again after a mutation, so that the mutation gets past them.
enum Reseal {
  static func none(_ bytes: inout [UInt8]) {}

  static func token(_ bytes: inout [UInt8]) {
    guard bytes.count >= 35 else { return }
    let cluster = bytes.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 1, as: UInt64.self)) }
    bytes.patch(Checksum.of(Array(bytes.dropLast(8)), seed: cluster), at: bytes.count - 8)
  }

  /// Header checksum, and the checksum of every value that the header finds.
  static func record(_ bytes: inout [UInt8]) {
    guard bytes.count >= EncodedRecord.fixedBytes else { return }
    let entries = Int(bytes[2]) | Int(bytes[3]) << 8
    let versions = Int(bytes[4]) | Int(bytes[5]) << 8
    let table = EncodedRecord.fixedBytes + entries * VersionVector.entryBytes
    let headerBytes = table + versions * EncodedRecord.versionBytes
    guard bytes.count >= headerBytes else { return }
    var value = headerBytes
    for place in stride(from: table, to: headerBytes, by: EncodedRecord.versionBytes) where bytes[place + 2] == 0 {
      let count = bytes.withUnsafeBytes { Int($0.loadUnaligned(fromByteOffset: place + 4, as: UInt32.self)) }
      guard count <= bytes.count - value else { break }
      bytes.patch(Checksum.of(Array(bytes[value..<(value + count)])), at: place + 48)
      value += count
    }
    let seed = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
    bytes.patch(Checksum.of(Array(bytes[EncodedRecord.fixedBytes..<headerBytes]), seed: seed), at: 8)
  }

  static func frame(_ bytes: inout [UInt8]) {
    guard bytes.count >= FrameHeader.bytes else { return }
    let checksum = bytes.withUnsafeBytes {
      FrameHeader.checksum(
        header: UnsafeRawBufferPointer(rebasing: $0[..<32]),
        body: UnsafeRawBufferPointer(rebasing: $0[FrameHeader.bytes...]))
    }
    bytes.patch(checksum, at: 32)
  }

  static func storageKey(_ bytes: inout [UInt8]) {
    guard bytes.count >= 12 else { return }
    let count = Int(bytes[10]) << 8 | Int(bytes[11])
    guard count <= bytes.count - 12 else { return }
    let token = bytes.withUnsafeBytes { Token(partitionKey: UnsafeRawBufferPointer(rebasing: $0[12..<(12 + count)])) }
    bytes.patch(token.position.byteSwapped, at: 0)
  }
}
