import KVCore
import KVModel

/// Why a shard's database was not opened. The description names the place and says what to do.
public enum StorageOpenError: Error, Equatable, Sendable {
  case notADirectory(path: String)
  case notPermitted(path: String)
  /// Another process, or this one, has it open.
  case inUse(path: String)
  case diskFull(path: String)
  case otherNode(path: String, found: NodeID, expected: NodeID)
  case otherShard(path: String, found: Int, expected: Int)
  case otherShardCount(path: String, found: Int, expected: Int)
  case otherCluster(path: String, found: ClusterID, expected: ClusterID)
  case otherGeometry(path: String, found: ShardGeometry, expected: ShardGeometry)
  /// The database was opened by a later start than the node's state knows of.
  case laterGeneration(path: String, found: UInt64, expected: UInt64)
  case newerFormat(path: String, found: String)
  /// `path` is the damaged file where it is known.
  case damaged(path: String, detail: String)
  case failed(path: String, detail: String)
}

extension StorageOpenError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .notADirectory(let path): "\(path) is not a directory; move it away or set another data directory"
    case .notPermitted(let path): "\(path) cannot be read and written by this user; mend its owner and permissions"
    case .inUse(let path): "\(path) is in use by a running process; stop that node first"
    case .diskFull(let path): "no space left on the disk of \(path); free some, then start again"
    case .otherNode(let path, let found, let expected):
      "\(path) belongs to node \(found), this is node \(expected); give each node its own data directory"
    case .otherShard(let path, let found, let expected):
      "\(path) is shard \(found), not \(expected); put the shard directories back where they were"
    case .otherShardCount(let path, let found, let expected):
      "\(path) was made for \(found) shards, not \(expected); the number is fixed when the data directory is made"
    case .otherCluster(let path, let found, let expected):
      "\(path) holds data of cluster \(found), not of \(expected); use an empty data directory to join another cluster"
    case .otherGeometry(let path, let found, let expected):
      """
      \(path) was made for 2^\(found.partitionBits) partitions of 2^\(found.leafBits) leaves, the layout has \
      2^\(expected.partitionBits) of 2^\(expected.leafBits); they are fixed by `cluster init`
      """
    case .laterGeneration(let path, let found, let expected):
      """
      \(path) was last opened by start \(found) of this node, but node.state only knows \(expected): \
      node.state is an old copy; restore the current one or start with an empty data directory
      """
    case .newerFormat(let path, let found):
      "\(path) was written in a newer format (\(found)); start the release that wrote it, or a later one"
    case .damaged(let path, let detail):
      """
      \(path) is damaged (\(detail)); nothing was skipped or repaired. Move the data directory away and start with \
      an empty one, so that the node is rebuilt from its peers
      """
    case .failed(let path, let detail): "\(path) cannot be opened: \(detail)"
    }
  }
}
