import KVCore
import KVModel

// The nouns of the storage seam as bytes, for the pipe between a test and a store in another process.

extension StorageOperation {
  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .read(let key):
      bytes.append(0)
      key.encode(into: &bytes)
    case .merge(let key, .join(let stored), let hints):
      bytes.append(1)
      key.encode(into: &bytes)
      bytes.append(nodes: hints)
      bytes.append(blob: stored.encoded.bytes)
    case .merge(let key, .mint(let mint), let hints):
      bytes.append(2)
      key.encode(into: &bytes)
      bytes.append(nodes: hints)
      mint.encode(into: &bytes)
    case .extendLease(let lease):
      bytes.append(3)
      lease.encode(into: &bytes)
    case .findRequest(let request, let key):
      bytes.append(4)
      request.encode(into: &bytes)
      key.encode(into: &bytes)
    case .digests(let partition, let nodes):
      bytes.append(5)
      bytes.append(integer: partition.index)
      bytes.append(integer: UInt32(nodes.count))
      for node in nodes {
        bytes.append(node.depth)
        bytes.append(integer: node.index)
      }
    case .listLeaf(let place, after: let after, limit: let limit):
      bytes.append(6)
      bytes.append(integer: place.partition.index)
      bytes.append(integer: place.leaf)
      bytes.append(optional: after) { $0.encode(into: &$1) }
      bytes.append(integer: UInt32(limit))
    case .hint(let key, let targets):
      bytes.append(7)
      key.encode(into: &bytes)
      bytes.append(nodes: targets)
    case .listHints(let target, let token, after: let after, limit: let limit):
      bytes.append(8)
      bytes.append(integer: target.value)
      bytes.append(integer: token.position)
      bytes.append(optional: after) { $0.encode(into: &$1) }
      bytes.append(integer: UInt32(limit))
    case .forgetHints(let target, let keys, let sequence):
      bytes.append(9)
      bytes.append(integer: target.value)
      bytes.append(list: keys) { $0.encode(into: &$1) }
      bytes.append(integer: sequence)
    case .forgetMarks(let target, let partition, let sequence):
      bytes.append(10)
      bytes.append(integer: target.value)
      bytes.append(integer: partition.index)
      bytes.append(integer: sequence)
    case .countHints: bytes.append(11)
    case .keyDigests(let keys):
      bytes.append(12)
      bytes.append(list: keys) { $0.encode(into: &$1) }
    case .merge(let key, .sweep(let wall, entry: let at), let hints):
      bytes.append(13)
      key.encode(into: &bytes)
      bytes.append(integer: wall.milliseconds)
      bytes.append(integer: at.milliseconds)
      bytes.append(nodes: hints)
    case .listExpired(let wall, after: let after, limit: let limit):
      bytes.append(14)
      bytes.append(integer: wall.milliseconds)
      bytes.append(optional: after) { $0.encode(into: &$1) }
      bytes.append(integer: UInt32(limit))
    case .rescan(let partition, from: let leaf, let bytesMax):
      bytes.append(15)
      bytes.append(integer: partition.index)
      bytes.append(integer: leaf)
      bytes.append(integer: UInt64(bytesMax))
    case .roots(let partitions):
      bytes.append(16)
      bytes.append(integer: UInt32(partitions.count))
      for partition in partitions { bytes.append(integer: partition.index) }
    // Gaps are tested in this process.
    case .listGaps, .changeGaps, .scrub: fatalError("\(self) is not asked of a process")
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0: self = .read(try Key(from: &reader))
    case 1:
      let key = try Key(from: &reader)
      let hints = try reader.nodes()
      self = .merge(key, .join(try EncodedRecord(unverified: try reader.blob()).decoded()), hints: hints)
    case 2:
      let key = try Key(from: &reader)
      let hints = try reader.nodes()
      self = .merge(key, .mint(try Mint(from: &reader)), hints: hints)
    case 3: self = .extendLease(try Lease(from: &reader))
    case 4:
      let request = try RequestID(from: &reader)
      self = .findRequest(request, try Key(from: &reader))
    case 5:
      let partition = PartitionID(try reader.u16())
      var nodes: [TreeNode] = []
      for _ in 0..<(try reader.u32()) {
        let depth = Int(try reader.u8())
        nodes.append(TreeNode(depth: depth, index: try reader.u32()))
      }
      self = .digests(partition, nodes)
    case 6:
      let place = LeafPlace(partition: PartitionID(try reader.u16()), leaf: try reader.u32())
      let after = try reader.optional { (reader) throws(DecodeError) in try Key(from: &reader) }
      self = .listLeaf(place, after: after, limit: Int(try reader.u32()))
    case 7:
      let key = try Key(from: &reader)
      self = .hint(key, try reader.nodes())
    case 8:
      let (target, token) = (NodeID(try reader.u64()), Token(try reader.u64()))
      let after = try reader.optional { (reader) throws(DecodeError) in try Key(from: &reader) }
      self = .listHints(target, from: token, after: after, limit: Int(try reader.u32()))
    case 9:
      let target = NodeID(try reader.u64())
      let keys = try reader.list { (reader) throws(DecodeError) in try Key(from: &reader) }
      self = .forgetHints(target, keys, upTo: try reader.u64())
    case 10:
      let (target, partition) = (NodeID(try reader.u64()), PartitionID(try reader.u16()))
      self = .forgetMarks(target, partition, upTo: try reader.u64())
    case 11: self = .countHints
    case 12: self = .keyDigests(try reader.list { (reader) throws(DecodeError) in try Key(from: &reader) })
    case 13:
      let key = try Key(from: &reader)
      let (wall, at) = (WallTime(milliseconds: try reader.u64()), WallTime(milliseconds: try reader.u64()))
      self = .merge(key, .sweep(wall, entry: at), hints: try reader.nodes())
    case 14:
      let wall = WallTime(milliseconds: try reader.u64())
      let after = try reader.optional { (reader) throws(DecodeError) in try ExpiryEntry(from: &reader) }
      self = .listExpired(upTo: wall, after: after, limit: Int(try reader.u32()))
    case 15:
      let (partition, leaf) = (PartitionID(try reader.u16()), try reader.u32())
      self = .rescan(partition, from: leaf, bytesMax: Int(try reader.u64()))
    case 16: self = .roots(try reader.list { (reader) throws(DecodeError) in PartitionID(try reader.u16()) })
    case let tag: throw .unknownTag(tag)
    }
  }
}

extension ExpiryEntry {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: at.milliseconds)
    key.encode(into: &bytes)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    self.init(at: WallTime(milliseconds: try reader.u64()), key: try Key(from: &reader))
  }
}

extension Mint {
  /// The version that it would be by itself, and beside it what no version has.
  func encode(into bytes: inout [UInt8]) {
    let version = Version(
      dot: dot, stamp: stamp, expiry: expiry, requestID: requestID, checksum: checksum, content: content)
    version.encode(into: &bytes)
    bytes.append(integer: stampCeiling.bits)
    basis.encode(into: &bytes)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let version = try Version(from: &reader)
    let ceiling = Stamp(bits: try reader.u64())
    self.init(
      dot: version.dot, basis: try Basis(from: &reader), stamp: version.stamp, stampCeiling: ceiling,
      requestID: version.requestID, expiry: version.expiry, checksum: version.checksum, content: version.content)
  }
}

extension Mint.Basis {
  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .overwrite: bytes.append(0)
    case .again(let first, let covered, let beside):
      bytes.append(1)
      first.encode(into: &bytes)
      covered.encode(into: &bytes)
      beside.encode(into: &bytes)
    case .context(let vector):
      bytes.append(2)
      vector.encode(into: &bytes)
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0: self = .overwrite
    case 1:
      let first = try Dot(from: &reader)
      let covered = try VersionVector(from: &reader)
      self = .again(first: first, covered: covered, beside: try Beside(from: &reader))
    case 2: self = .context(try VersionVector(from: &reader))
    case let tag: throw .unknownTag(tag)
    }
  }
}

extension Version {
  /// As a record that holds it alone.
  func encode(into bytes: inout [UInt8]) {
    bytes.append(blob: EncodedRecord(Record(context: VersionVector(), versions: [self])).bytes)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let record = try EncodedRecord(unverified: try reader.blob()).decoded()
    guard let version = record.versions.first else { throw .truncated }
    self = version
  }
}

extension Beside {
  func encode(into bytes: inout [UInt8]) {
    history.encode(into: &bytes)
    bytes.append(integer: stamp.bits)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let history = try VersionVector(from: &reader)
    self.init(history: history, stamp: Stamp(bits: try reader.u64()))
  }
}

extension Actor {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: node.value)
    bytes.append(integer: epoch)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    self.init(node: NodeID(try reader.u64()), epoch: try reader.u32())
  }
}

extension Dot {
  func encode(into bytes: inout [UInt8]) {
    actor.encode(into: &bytes)
    bytes.append(integer: counter)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let actor = try Actor(from: &reader)
    self.init(actor: actor, counter: try reader.u64())
  }
}

extension Lease {
  func encode(into bytes: inout [UInt8]) {
    actor.encode(into: &bytes)
    bytes.append(integer: sequence)
    bytes.append(integer: stamp.bits)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let actor = try Actor(from: &reader)
    self.init(actor: actor, sequence: try reader.u64(), stamp: Stamp(bits: try reader.u64()))
  }
}

extension LeafPlace {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: UInt16(partition.index))
    bytes.append(integer: leaf)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    self.init(partition: PartitionID(try reader.u16()), leaf: try reader.u32())
  }
}

extension StorageResult {
  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .record(let record):
      bytes.append(0)
      bytes.append(blob: record.bytes)
    case .unreadable: bytes.append(1)
    case .merged(let merged):
      bytes.append(2)
      merged.encode(into: &bytes)
    case .synced: bytes.append(3)
    case .refused(let failure):
      bytes.append(4)
      failure.encodeForDriver(into: &bytes)
    case .leased: bytes.append(5)
    case .request(let seen):
      bytes.append(6)
      bytes.append(bool: seen)
    case .failed(let fault):
      bytes.append(7)
      fault.encode(into: &bytes)
    case .digests(let digests):
      bytes.append(8)
      bytes.append(integer: UInt32(digests.count))
      for digest in digests { digest.encode(into: &bytes) }
    case .listed(let page):
      bytes.append(9)
      bytes.append(bool: page.isLast)
      bytes.append(integer: UInt32(page.entries.count))
      for entry in page.entries {
        entry.key.encode(into: &bytes)
        entry.digest.encode(into: &bytes)
      }
    case .hints(let page):
      bytes.append(10)
      bytes.append(bool: page.isLast)
      bytes.append(integer: page.sequence)
      bytes.append(list: page.entries) {
        $0.key.encode(into: &$1)
        $0.digest.encode(into: &$1)
        $1.append(integer: $0.bytes)
      }
    case .census(let census):
      bytes.append(11)
      bytes.append(integer: census.sequence)
      bytes.append(integer: census.overBudget)
      bytes.append(list: census.targets) {
        $1.append(integer: $0.node.value)
        $1.append(integer: UInt64($0.keys))
        $1.append(integer: UInt64($0.marks))
        $1.append(list: $0.marked) { $1.append(integer: $0.index) }
      }
    case .expired(let page):
      bytes.append(12)
      bytes.append(bool: page.isLast)
      bytes.append(list: page.entries) { $0.encode(into: &$1) }
    case .rescanned(let rescan):
      bytes.append(13)
      rescan.encode(into: &bytes)
    case .incomplete, .gaps, .scrubbed: fatalError("\(self) is not asked of a process")
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0: self = .record(EncodedRecord(unverified: try reader.blob()))
    case 1: self = .unreadable
    case 2: self = .merged(try Merged(from: &reader))
    case 3: self = .synced
    case 4: self = .refused(try Failure(forDriver: &reader))
    case 5: self = .leased
    case 6: self = .request(seen: try reader.bool())
    case 7: self = .failed(try StorageFault(from: &reader))
    case 8:
      var digests: [Digest] = []
      for _ in 0..<(try reader.u32()) { digests.append(try Digest(from: &reader)) }
      self = .digests(digests)
    case 9:
      var page = LeafPage(entries: [], isLast: try reader.bool())
      for _ in 0..<(try reader.u32()) {
        let key = try Key(from: &reader)
        page.entries.append(LeafPage.Entry(key: key, digest: try Digest(from: &reader)))
      }
      self = .listed(page)
    case 10:
      let (isLast, sequence) = (try reader.bool(), try reader.u64())
      let entries = try reader.list { (reader) throws(DecodeError) in
        let key = try Key(from: &reader)
        let digest = try Digest(from: &reader)
        return HintOffer.Entry(key: key, digest: digest, bytes: try reader.u32())
      }
      self = .hints(HintPage(entries: entries, isLast: isLast, sequence: sequence))
    case 11:
      let (sequence, overBudget) = (try reader.u64(), try reader.u64())
      let targets = try reader.list { (reader) throws(DecodeError) in
        let (node, keys, marks) = (NodeID(try reader.u64()), Int(try reader.u64()), Int(try reader.u64()))
        let marked = try reader.list { (reader) throws(DecodeError) in PartitionID(try reader.u16()) }
        return HintCensus.Target(node: node, keys: keys, marks: marks, marked: marked)
      }
      self = .census(HintCensus(targets: targets, sequence: sequence, overBudget: overBudget))
    case 12:
      let isLast = try reader.bool()
      let entries = try reader.list { (reader) throws(DecodeError) in try ExpiryEntry(from: &reader) }
      self = .expired(ExpiredPage(entries: entries, isLast: isLast))
    case 13: self = .rescanned(try Rescan(from: &reader))
    case let tag: throw .unknownTag(tag)
    }
  }
}

extension Merged {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(blob: record.bytes)
    bytes.append(optional: beside) { $0.encode(into: &$1) }
    bytes.append(optional: minted) { $0.encode(into: &$1) }
    context.encode(into: &bytes)
    bytes.append(optional: covered) { $0.encode(into: &$1) }
    bytes.append(bool: isContested)
    bytes.append(integer: UInt64(swept.versions))
    bytes.append(integer: UInt64(swept.bytes))
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let record = EncodedRecord(unverified: try reader.blob())
    let beside = try reader.optional { (reader) throws(DecodeError) in try Beside(from: &reader) }
    let minted = try reader.optional { (reader) throws(DecodeError) in try Version(from: &reader) }
    let context = try VersionVector(from: &reader)
    let covered = try reader.optional { (reader) throws(DecodeError) in try VersionVector(from: &reader) }
    let isContested = try reader.bool()
    let swept = Swept(versions: Int(try reader.u64()), bytes: Int(try reader.u64()))
    self.init(
      record: record, beside: beside, minted: minted, context: context, covered: covered, isContested: isContested,
      swept: swept)
  }
}

extension Failure {
  func encodeForDriver(into bytes: inout [UInt8]) {
    bytes.append(contentsOf: [code.rawValue, outcome.rawValue, needed, got])
    bytes.append(integer: retryAfterMs)
    bytes.append(text: detail)
  }

  init(forDriver reader: inout ByteReader) throws(DecodeError) {
    guard let code = Code(rawValue: try reader.u8()), let outcome = Outcome(rawValue: try reader.u8()) else {
      throw .outOfBounds
    }
    let (needed, got) = (Int(try reader.u8()), Int(try reader.u8()))
    let retryAfterMs = try reader.u32()
    self.init(
      code, outcome, needed: needed, got: got, retryAfterMs: retryAfterMs, detail: try reader.text(max: .max))
  }
}

extension StorageFault {
  private static let kinds: [Kind] = [.diskFull, .ioError, .corruption, .other]

  func encode(into bytes: inout [UInt8]) {
    bytes.append(UInt8(StorageFault.kinds.firstIndex(of: kind)!))
    bytes.append(text: path)
    bytes.append(text: detail)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let kind = Int(try reader.u8())
    guard kind < StorageFault.kinds.count else { throw .outOfBounds }
    let path = try reader.text(max: .max)
    self.init(StorageFault.kinds[kind], path: path, detail: try reader.text(max: .max))
  }
}

extension StorageSnapshot {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(list: records) {
      $1.append(blob: $0.key)
      $1.append(blob: $0.record.bytes)
    }
    bytes.append(list: leaves) {
      $0.place.encode(into: &$1)
      $0.digest.encode(into: &$1)
    }
    bytes.append(list: expiries) {
      $1.append(integer: $0.at.milliseconds)
      $1.append(blob: $0.key)
    }
    bytes.append(list: requests) {
      $0.id.encode(into: &$1)
      $1.append(integer: $0.until.milliseconds)
    }
    bytes.append(optional: lease) { $0.encode(into: &$1) }
    bytes.append(list: hints) {
      $1.append(integer: $0.target.value)
      $1.append(blob: $0.key)
    }
    bytes.append(list: marks) {
      $1.append(integer: $0.target.value)
      $0.place.encode(into: &$1)
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    self.init()
    records = try reader.list { (reader) throws(DecodeError) in
      Entry(key: try reader.blob(), record: EncodedRecord(unverified: try reader.blob()))
    }
    leaves = try reader.list { (reader) throws(DecodeError) in
      Leaf(place: try LeafPlace(from: &reader), digest: try Digest(from: &reader))
    }
    expiries = try reader.list { (reader) throws(DecodeError) in
      Expiry(at: WallTime(milliseconds: try reader.u64()), key: try reader.blob())
    }
    requests = try reader.list { (reader) throws(DecodeError) in
      let id = try RequestID(from: &reader)
      return RequestMemory.Entry(id: id, until: WallTime(milliseconds: try reader.u64()))
    }
    lease = try reader.optional { (reader) throws(DecodeError) in try Lease(from: &reader) }
    hints = try reader.list { (reader) throws(DecodeError) in
      Hint(target: NodeID(try reader.u64()), key: try reader.blob())
    }
    marks = try reader.list { (reader) throws(DecodeError) in
      Mark(target: NodeID(try reader.u64()), place: try LeafPlace(from: &reader))
    }
  }
}

extension [UInt8] {
  fileprivate mutating func append(nodes: [NodeID]) { append(list: nodes) { $1.append(integer: $0.value) } }
}

extension ByteReader {
  fileprivate mutating func nodes() throws(DecodeError) -> [NodeID] {
    try list { (reader) throws(DecodeError) in NodeID(try reader.u64()) }
  }
}
