import KVCore
import KVModel

// meta: the gaps of this copy, and damaged records that were put aside
//
// | key: size | field |
// |---|---|
// | 1 | 'g' |
// | 1 | 0 a partition, 1 a key |
// | … | partition 2, big-endian; or the storage key of the record |
//
// | value: size | field |
// |---|---|
// | 1 | revision = 1 |
// | 1 | 1 open, 2 its leaves are to be scanned again, 4 somebody has minted here, 8 it has all records |
// | 12 | actor that must not mint here again: node id 8, epoch 4 |
// | 1 | owners that were pulled whole, then each: node id 8 |
// | 1 | owners that were pulled partly, then each: node id 8 |
// | 8 | XXH3-64 of all before |
//
// | key | value |
// |---|---|
// | "life" | revision = 1, life 8, ms until which no request id is answered for 8, XXH3-64 of all before 8 |
// | 'q', storage key | the damaged bytes |
enum GapSpace {
  static let tag = UInt8(ascii: "g")
  static let lifeKey = Array("life".utf8)
  private static let quarantineTag = UInt8(ascii: "q")

  static func key(of part: Gap.Part) -> [UInt8] {
    switch part {
    case .partition(let partition):
      var bytes = [tag, 0]
      bytes.append(integer: partition.index.byteSwapped)
      return bytes
    case .key(let key): return [tag, 1] + key.bytes
    }
  }

  static func quarantineKey(of key: Key) -> [UInt8] { [quarantineTag] + key.bytes }

  /// The first key of the records that were put aside.
  static let quarantineStart = [quarantineTag]

  /// Nil for a key of another kind.
  static func quarantined(_ key: UnsafeRawBufferPointer) -> [UInt8]? {
    key.first == quarantineTag ? [UInt8](key.dropFirst()) : nil
  }

  static func value(of gap: Gap) -> [UInt8] {
    var bytes: [UInt8] = [1]
    let state: UInt8 = (gap.isOpen ? 1 : 0) | (gap.needsRescan ? 2 : 0)
    bytes.append(state | (gap.barred != nil ? 4 : 0) | (gap.hasRecords ? 8 : 0))
    bytes.append(integer: gap.barred?.node.value ?? 0)
    bytes.append(integer: gap.barred?.epoch ?? 0)
    for nodes in [gap.pulled, gap.partly] {
      bytes.append(UInt8(nodes.count))
      for node in nodes { bytes.append(integer: node.value) }
    }
    bytes.append(integer: Checksum.of(bytes))
    return bytes
  }

  /// Nil for a key of another kind.
  static func decode(
    key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
  ) throws(DecodeError) -> Gap? {
    guard key.first == tag else { return nil }
    var reader = ByteReader(key)
    _ = try reader.u8()
    let part: Gap.Part =
      switch try reader.u8() {
      case 0: .partition(PartitionID(try reader.u16().byteSwapped))
      case 1: .key(try Key(storageBytes: try reader.view(reader.remaining)))
      case let tag: throw .unknownTag(tag)
      }
    return try sealed([UInt8](value)) { (reader) throws(DecodeError) in
      let flags = try reader.u8()
      let actor = Actor(node: NodeID(try reader.u64()), epoch: try reader.u32())
      let barred = flags & 4 != 0 ? actor : nil
      var gap = Gap(part: part, barred: barred, needsRescan: flags & 2 != 0, hasRecords: flags & 8 != 0)
      gap.isOpen = flags & 1 != 0
      for _ in 0..<(try reader.u8()) { gap.pulled.append(NodeID(try reader.u64())) }
      for _ in 0..<(try reader.u8()) { gap.partly.append(NodeID(try reader.u64())) }
      return gap
    }
  }

  static func encode(life: UInt64, until: WallTime) -> [UInt8] {
    var bytes: [UInt8] = [1]
    bytes.append(integer: life)
    bytes.append(integer: until.milliseconds)
    bytes.append(integer: Checksum.of(bytes))
    return bytes
  }

  static func decodeLife(_ bytes: [UInt8]) throws(DecodeError) -> (life: UInt64, until: WallTime) {
    try sealed(bytes) { (reader) throws(DecodeError) in
      (try reader.u64(), WallTime(milliseconds: try reader.u64()))
    }
  }
}
