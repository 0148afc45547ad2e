import KVCore
import KVModel

/// Leaves to be read again.
struct RescanQuery: Sendable {
  let partition: PartitionID
  let first: UInt32
  let bytesMax: Int
  /// The tree in memory when it was asked, from `first` on.
  let remembered: [Digest]
}

/// The digests that follow from the data, from the query's first leaf on; nil for a leaf with a damaged record.
struct RescannedLeaves: Sendable {
  let query: RescanQuery
  let digests: [Digest?]
}

// Tree and data, compared: on the disk as of one snapshot, and with the tree in memory.
extension RocksDBStorage {
  func rescan(
    _ partition: PartitionID, from first: UInt32, bytesMax: Int, id: StorageID, results: inout [StorageCompletion]
  ) {
    guard bytesMax > 0 else {
      let rescan = Rescan(nextLeaf: first, root: syncedLeaves.root(of: partition))
      return results.append(StorageCompletion(id: id, result: .rescanned(rescan)))
    }
    let end = min(UInt32(1) << UInt32(geometry.leafBits), first &+ UInt32(Rescan.leavesMax))
    let remembered = first < end ? (first..<end).map { syncedLeaves[LeafPlace(partition: partition, leaf: $0)] } : []
    let query = RescanQuery(partition: partition, first: first, bytesMax: bytesMax, remembered: remembered)
    pool.submit(.rescan(query, geometry, id))
  }

  /// The disk agrees with itself or not; whether the tree in memory does too shows where it has not changed meanwhile.
  func onRescanned(
    _ rescan: Rescan, _ scanned: RescannedLeaves, _ id: StorageID, _ results: inout [StorageCompletion]
  ) {
    var rescan = rescan
    let query = scanned.query
    for (place, digest) in scanned.digests.enumerated() {
      let now = syncedLeaves[LeafPlace(partition: query.partition, leaf: query.first + UInt32(place))]
      if let digest, now == query.remembered[place], now != digest { rescan.differingLeaves += 1 }
    }
    rescan.root = syncedLeaves.root(of: query.partition)
    results.append(StorageCompletion(id: id, result: .rescanned(rescan)))
  }
}

extension Database {
  /// Whole leaves, until enough bytes are read. The data and the leaves that were written beside them are read as of one
  /// snapshot, so that no write makes them differ.
  func rescan(_ query: RescanQuery, _ geometry: ShardGeometry) -> Load.Outcome {
    if let error = flushLeaves() { return .failed(error) }
    return withSnapshot { view in
      var rescan = Rescan(nextLeaf: query.first)
      var digests: [Digest?] = []
      var leaf = query.first
      var (digest, isSound) = (Digest.zero, true)
      var isCut = false
      let end = query.first + UInt32(query.remembered.count)
      let stored: [LeafPlace: Digest]
      switch view.leaves(of: query.partition, query.first..<end) {
      case .success(let leaves): stored = leaves
      case .failure(let error): return .failed(error)
      }

      func closeLeaf() {
        let place = LeafPlace(partition: query.partition, leaf: leaf)
        digests.append(isSound ? digest : nil)
        if isSound, stored[place] ?? .zero != digest { rescan.differingLeaves += 1 }
        (digest, isSound) = (.zero, true)
        leaf += 1
        rescan.nextLeaf = leaf
      }

      var start: [UInt8] = []
      start.append(bigEndian: LeafPlace(partition: query.partition, leaf: query.first).firstToken(geometry))
      let error = view.scan(.data, from: start) { bytes, value in
        guard let key = Key(stored: bytes) else { return false }
        let place = LeafPlace(of: key, geometry)
        guard place.partition == query.partition, place.leaf < end else { return false }
        while leaf < place.leaf {
          closeLeaf()
          isCut = rescan.bytes >= UInt64(query.bytesMax)
          if isCut { return false }
        }
        let record = try? EncodedRecord.decode(value)
        rescan.count(record, keyBytes: bytes.count, recordBytes: value.count)
        if let record { digest.combine(record.digest(of: key, seed: geometry.digestSeed)) } else { isSound = false }
        return true
      }
      if let error { return .failed(error) }
      // Nothing follows in these leaves: the last one is whole, and the rest are empty.
      while !isCut, leaf < end { closeLeaf() }
      if rescan.nextLeaf == UInt32(1) << UInt32(geometry.leafBits) { rescan.nextLeaf = nil }
      return .rescan(rescan, RescannedLeaves(query: query, digests: digests))
    }
  }
}

extension Database {
  /// The memtable of leaves is a plain list, which is sorted anew for each reader: cheap for every write, and a second of a
  /// core for a partition when it is full. What it holds goes to a file first when that is more than a few.
  func flushLeaves() -> RocksDBError? {
    property("rocksdb.num-entries-active-mem-table", of: .merkle) > 4_096 ? flush(.merkle) : nil
  }
}

extension DatabaseView {
  /// The digests of a partition's Merkle leaves as they are stored; not those that were never written.
  fileprivate func leaves(
    of partition: PartitionID, _ leaves: Range<UInt32>
  ) -> Result<[LeafPlace: Digest], RocksDBError> {
    var found: [LeafPlace: Digest] = [:]
    let start = MerkleSpace.withKey(LeafPlace(partition: partition, leaf: leaves.lowerBound)) { [UInt8]($0) }
    let error = scan(.merkle, from: start) { key, value in
      guard let (place, digest) = try? MerkleSpace.decode(key: key, value: value), place.partition == partition,
        leaves.contains(place.leaf)
      else { return false }
      found[place] = digest
      return true
    }
    return error.map { .failure($0) } ?? .success(found)
  }
}
