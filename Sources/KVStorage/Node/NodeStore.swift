import Glibc
import KVCore
import KVModel

/// Why a data directory cannot be used. The description names the place and says what to do.
public enum NodeStoreError: Error, Equatable, Sendable {
  /// The directory is new: make an identity and save it.
  case missing(path: String)
  /// Shards are here, but not the state that they belong to.
  case lost(path: String)
  case newerFormat(path: String, revision: UInt8)
  case damaged(path: String, detail: String)
  case inUse(directory: String, process: Int32?)
  case notADirectory(path: String)
  case notPermitted(path: String)
  case diskFull(path: String)
  case failed(path: String, detail: String)
}

extension NodeStoreError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .missing(let path): "\(path) does not exist: the data directory is new"
    case .lost(let path):
      "\(path) is missing beside data; restore it, or start with an empty data directory to be rebuilt from the peers"
    case .newerFormat(let path, let revision):
      "\(path) has format revision \(revision); start the release that wrote it, or a later one"
    case .damaged(let path, let detail):
      "\(path) is damaged (\(detail)); restore it, or start with an empty data directory to be rebuilt from the peers"
    case .inUse(let directory, let process):
      "data directory \(directory) is in use by process \(process.map { "\($0)" } ?? "unknown"); stop it first"
    case .notADirectory(let path): "\(path) is not a directory; move it away or set another data directory"
    case .notPermitted(let path): "\(path) cannot be read and written by this user; mend its owner and permissions"
    case .diskFull(let path): "no space left on the disk of \(path); free some, then start again"
    case .failed(let path, let detail): "\(path): \(detail)"
    }
  }

  init(_ error: FileError) {
    self =
      switch error.code {
      case ENOTDIR: .notADirectory(path: error.path)
      case EACCES, EPERM, EROFS: .notPermitted(path: error.path)
      case ENOSPC, EDQUOT: .diskFull(path: error.path)
      default: .failed(path: error.path, detail: error.text)
      }
  }
}

/// A node's data directory, locked for this process, and the one file in it that belongs to the node rather than to a
/// shard.
///
/// ```
///   data/
///     LOCK         held by the running node; its process id
///     node.state   NodeState, replaced as a whole and synced
///     shard-0/     one RocksDB database a shard
/// ```
public final class NodeStore {
  public let directory: String
  private let lock: Int32

  private static let stateName = "node.state"
  private static let stateBytesMax = 64 << 20

  /// Makes the directory if need be, and locks it until this object is released.
  public init(directory: String) throws(NodeStoreError) {
    self.directory = directory
    do throws(FileError) {
      try FileSystem.makeDirectory(directory)
      try FileSystem.checkDirectory(directory)
      lock = try FileSystem.open(directory + "/LOCK", O_RDWR | O_CREAT)
    } catch { throw NodeStoreError(error) }
    do throws(FileError) {
      try NodeStore.take(lock, path: directory + "/LOCK")
    } catch {
      let holder = try? FileSystem.read(directory + "/LOCK", bytesMax: 32)
      close(lock)
      guard error.code == EWOULDBLOCK else { throw NodeStoreError(error) }
      let digits = String(decoding: (holder ?? []).prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
      throw .inUse(directory: directory, process: Int32(digits))
    }
  }

  deinit { close(lock) }

  private static func take(_ lock: Int32, path: String) throws(FileError) {
    try FileSystem.call("flock", path) { flock(lock, LOCK_EX | LOCK_NB) }
    try FileSystem.call("ftruncate", path) { ftruncate(lock, 0) }
    try FileSystem.write(Array("\(getpid())\n".utf8), to: lock, path: path)
  }

  /// Where the database of a shard lies.
  public func shardDirectory(_ shard: Int) -> String { "\(directory)/shard-\(shard)" }

  /// Whether a shard's directory holds a database, whatever its state.
  public static func holdsDatabase(_ directory: String) -> Bool { FileSystem.exists(directory + "/CURRENT") }

  /// The node's state as it was last saved.
  public func load() throws(NodeStoreError) -> NodeState {
    let path = directory + "/" + NodeStore.stateName
    guard FileSystem.exists(path) else {
      if FileSystem.exists(shardDirectory(0)) { throw .lost(path: path) }
      throw .missing(path: path)
    }
    let bytes: [UInt8]
    do { bytes = try FileSystem.read(path, bytesMax: NodeStore.stateBytesMax) } catch { throw NodeStoreError(error) }
    do { return try NodeState(encoded: bytes) } catch {
      if case .unknownRevision(let revision) = error { throw .newerFormat(path: path, revision: revision) }
      throw .damaged(path: path, detail: "\(error)")
    }
  }

  /// Replaces the state; it is synced when this returns.
  public func save(_ state: NodeState) throws(NodeStoreError) {
    do { try FileSystem.replace(NodeStore.stateName, in: directory, with: state.encoded) } catch {
      throw NodeStoreError(error)
    }
  }

  /// Room on the disk of the data directory.
  public func usage() throws(NodeStoreError) -> DiskUsage { try DiskUsage(of: directory) }
}
