/// Where a node listens: a host name or an address, and a port.
public struct Address: Hashable, Sendable, CustomStringConvertible {
  public var host: String
  public var port: UInt16

  public init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// Reads `host:port`, and `[address]:port` for IPv6.
  public init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let digits = text[text.index(after: colon)...]
    guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits), port > 0 else {
      return nil
    }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    guard !host.isEmpty, host.utf8.count <= Address.hostBytesMax else { return nil }
    self.init(host: String(host), port: port)
  }

  static let hostBytesMax = 255

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(text: host)
    bytes.append(integer: port)
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    host = try reader.text(max: Address.hostBytesMax)
    port = try reader.u16()
  }
}

/// One node of a layout.
public struct Member: Hashable, Sendable {
  /// The node's identity.
  public var id: NodeID
  /// What people call it, unique in the layout.
  public var name: String
  /// Where clients reach it.
  public var clientAddress: Address
  /// Where peers reach it.
  public var peerAddress: Address
  /// Its failure domain; replicas are spread over distinct zones first.
  public var zone: String
  /// The machine it runs on. Two nodes of one host never hold copies of one partition. Its name unless configured.
  public var host: String
  /// Its share of the ring, in hundredths: 100 is weight 1.0.
  public var weight: UInt16

  public init(
    id: NodeID, name: String, clientAddress: Address, peerAddress: Address, zone: String, host: String,
    weight: UInt16 = 100
  ) {
    self.id = id
    self.name = name
    self.clientAddress = clientAddress
    self.peerAddress = peerAddress
    self.zone = zone
    self.host = host
    self.weight = weight
  }
}

/// What every node of a cluster must agree on and its operator chooses before `kvctl cluster init`.
public struct ClusterSettings: Hashable, Sendable {
  /// What people call the cluster.
  public var name: String
  /// N: copies of each key.
  public var replication: Int
  /// R: owners that a quorum read hears.
  public var readQuorum: Int
  /// W: owners that a quorum write syncs on.
  public var writeQuorum: Int
  /// P: log2 of the number of partitions.
  public var partitionBits: Int
  /// Virtual nodes of a member of weight 1.0.
  public var virtualNodes: Int
  /// log2 of the Merkle leaves of a partition.
  public var leafBits: Int

  public init(
    name: String = "ringkv", replication: Int = 3, readQuorum: Int = 2, writeQuorum: Int = 2, partitionBits: Int = 10,
    virtualNodes: Int = 64, leafBits: Int = 6
  ) {
    self.name = name
    self.replication = replication
    self.readQuorum = readQuorum
    self.writeQuorum = writeQuorum
    self.partitionBits = partitionBits
    self.virtualNodes = virtualNodes
    self.leafBits = leafBits
  }

  /// Number of partitions, 2^P.
  public var partitions: Int { 1 << partitionBits }
}

/// The numbered table that fixes every preference list: nodes, zones, weights, addresses, N, P. Replaced as a whole.
public struct Layout: Hashable, Sendable {
  public var cluster: ClusterID
  /// 1 for the layout that `kvctl cluster init` forms.
  public var version: UInt32
  public var settings: ClusterSettings
  /// Invariant: ascending by id, ids and names distinct.
  public private(set) var members: [Member]

  public init(cluster: ClusterID, version: UInt32, settings: ClusterSettings, members: [Member]) {
    self.cluster = cluster
    self.version = version
    self.settings = settings
    self.members = members.sorted { $0.id < $1.id }
  }

  /// The member with this id.
  public func member(_ id: NodeID) -> Member? { index(of: id).map { members[$0] } }

  /// The place of a member in `members`.
  public func index(of id: NodeID) -> Int? {
    var low = 0
    var high = members.count
    while low < high {
      let middle = (low + high) / 2
      if members[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return low < members.count && members[low].id == id ? low : nil
  }
}

// | size | field |
// |---|---|
// | 1 | revision = 1 |
// | 8 | cluster id |
// | 4 | layout version |
// | 2+n | cluster name |
// | 1, 1, 1, 1 | N, R, W, P |
// | 2 | virtual nodes |
// | 1 | leaf bits |
// | 2 | members, then for each: id 8, name 2+n, client address, peer address (2+n, 2), zone 2+n, host 2+n, weight 2 |
extension Layout {
  static let revision: UInt8 = 1
  static let nameBytesMax = 64

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(Layout.revision)
    bytes.append(integer: cluster.value)
    bytes.append(integer: version)
    settings.encode(into: &bytes)
    bytes.append(integer: UInt16(members.count))
    for member in members { member.encode(into: &bytes) }
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    let revision = try reader.u8()
    guard revision == Layout.revision else { throw .unknownRevision(revision) }
    let cluster = ClusterID(try reader.u64())
    let version = try reader.u32()
    let settings = try ClusterSettings(from: &reader)
    let count = Int(try reader.u16())
    guard count >= 1, count <= Limits.membersMax else { throw .outOfBounds }
    var members: [Member] = []
    for _ in 0..<count { members.append(try Member(from: &reader)) }
    guard zip(members, members.dropFirst()).allSatisfy({ $0.id < $1.id }) else { throw .notCanonical }
    guard Set(members.map(\.name)).count == count else { throw .outOfBounds }
    self.init(cluster: cluster, version: version, settings: settings, members: members)
  }
}

extension ClusterSettings {
  /// Numbers that do not fit their field are sent as the nearest that does; it is out of bounds too, and refused.
  public func encode(into bytes: inout [UInt8]) {
    bytes.append(text: name)
    bytes.append(UInt8(clamping: replication))
    bytes.append(UInt8(clamping: readQuorum))
    bytes.append(UInt8(clamping: writeQuorum))
    bytes.append(UInt8(clamping: partitionBits))
    bytes.append(integer: UInt16(clamping: virtualNodes))
    bytes.append(UInt8(clamping: leafBits))
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    name = try reader.text(max: Layout.nameBytesMax)
    replication = Int(try reader.u8())
    readQuorum = Int(try reader.u8())
    writeQuorum = Int(try reader.u8())
    partitionBits = Int(try reader.u8())
    virtualNodes = Int(try reader.u16())
    leafBits = Int(try reader.u8())
    guard Limits.replication.contains(replication), Limits.partitionBits.contains(partitionBits),
      (1...replication).contains(readQuorum), (1...replication).contains(writeQuorum),
      (1...4_096).contains(virtualNodes), (0...16).contains(leafBits)
    else { throw .outOfBounds }
  }
}

extension Member {
  public func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: id.value)
    bytes.append(text: name)
    clientAddress.encode(into: &bytes)
    peerAddress.encode(into: &bytes)
    bytes.append(text: zone)
    bytes.append(text: host)
    bytes.append(integer: weight)
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    id = NodeID(try reader.u64())
    name = try reader.text(max: Layout.nameBytesMax)
    clientAddress = try Address(from: &reader)
    peerAddress = try Address(from: &reader)
    zone = try reader.text(max: Layout.nameBytesMax)
    host = try reader.text(max: Address.hostBytesMax)
    weight = try reader.u16()
    guard weight >= 1, weight <= 10_000 else { throw .outOfBounds }
  }
}
