import KVCore
import KVModel

extension RocksDBStorage {
  /// All that is durable, by a scan of everything: for comparisons in tests and for `kvctl`'s offline inspection.
  public func snapshot() throws(StorageFault) -> StorageSnapshot {
    var result = StorageSnapshot()
    result.lease = recoveredLeaseNow()
    try check(
      database.scan(.data) { key, value in
        result.records.append(.init(key: [UInt8](key), record: EncodedRecord(unverified: [UInt8](value))))
        return true
      })
    try check(
      database.scan(.merkle) { key, value in
        guard let (place, digest) = try? MerkleSpace.decode(key: key, value: value) else { return false }
        result.leaves.append(.init(place: place, digest: digest))
        return true
      })
    try check(
      database.scan(.expiry) { key, _ in
        guard let expiry = try? ExpirySpace.decode(key) else { return false }
        result.expiries.append(expiry)
        return true
      })
    try check(
      database.scan(.meta, from: RequestSpace.start(of: 0)) { key, value in
        guard let (id, _) = RequestSpace.decode(key), value.count == 8 else { return false }
        let until = WallTime(milliseconds: UInt64(littleEndian: value.loadUnaligned(as: UInt64.self)))
        result.requests.append(RequestMemory.Entry(id: id, until: until))
        return true
      })
    result.requests.sort()
    try check(
      database.scan(.meta, from: [GapSpace.tag]) { key, value in
        guard let gap = try? GapSpace.decode(key: key, value: value) else { return false }
        result.gaps.append(gap)
        return true
      })
    result.gaps.sort { $0.part < $1.part }
    try check(
      database.scan(.meta, from: GapSpace.quarantineStart) { key, value in
        guard let bytes = GapSpace.quarantined(key) else { return false }
        result.quarantined.append(.init(key: bytes, record: EncodedRecord(unverified: [UInt8](value))))
        return true
      })
    try check(
      database.scan(.hints) { key, _ in
        switch try? HintSpace.decode(key) {
        case .key(let target, let key)?: result.hints.append(.init(target: target, key: key.bytes))
        case .mark(let target, let place)?: result.marks.append(.init(target: target, place: place))
        case nil: return false
        }
        return true
      })
    return result
  }

  private func recoveredLeaseNow() -> Lease? {
    guard case .found(let lease?) = database.get(.meta, LeaseSpace.key, .disk, { try? LeaseSpace.decode([UInt8]($0)) })
    else { return nil }
    return lease
  }

  private func check(_ error: RocksDBError?) throws(StorageFault) {
    if let error { throw error.fault(in: directory) }
  }
}
