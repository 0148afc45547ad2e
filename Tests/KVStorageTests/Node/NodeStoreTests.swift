import Glibc
import KVCore
import KVModel
import Testing

@testable import KVStorage

@Suite struct `The node's state` {
  private static func failure(_ body: () throws(NodeStoreError) -> Void) -> NodeStoreError? {
    do {
      try body()
      return nil
    } catch { return error }
  }

  @Test func `is missing at first and comes back as it was saved`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let path = directory.path + "/a/b"
    let store = try NodeStore(directory: path)
    #expect(
      Self.failure { () throws(NodeStoreError) in _ = try store.load() } == .missing(path: path + "/node.state"))
    var state = NodeState(id: NodeID(5), shards: 2).started(nonce: 7)
    try store.save(state)
    #expect(try store.load() == state)
    state = state.started(nonce: 8)
    try store.save(state)
    #expect(try store.load() == state)
    #expect(TemporaryDirectory.names(in: path) == ["LOCK", "node.state"])
  }

  @Test func `missing beside data it is lost, not new`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = try NodeStore(directory: directory.path)
    try FileSystem.makeDirectory(store.shardDirectory(0))
    let failure = Self.failure { () throws(NodeStoreError) in _ = try store.load() }
    #expect(failure == .lost(path: directory.path + "/node.state"))
  }

  @Test func `damage names the file, and a newer format is told from it`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = try NodeStore(directory: directory.path)
    try store.save(NodeState(id: NodeID(5), shards: 2))
    let path = directory.path + "/node.state"
    let bytes = try FileSystem.read(path, bytesMax: 1 << 20)
    for index in bytes.indices.dropFirst() {
      var damaged = bytes
      damaged[index] ^= 0x10
      TemporaryDirectory.overwrite(path, damaged)
      guard case .damaged(path, _)? = Self.failure({ () throws(NodeStoreError) in _ = try store.load() }) else {
        Issue.record("byte \(index) is not covered")
        continue
      }
    }
    TemporaryDirectory.overwrite(path, Array(bytes.dropLast(3)))
    guard case .damaged(path, _)? = Self.failure({ () throws(NodeStoreError) in _ = try store.load() }) else {
      Issue.record("a short file is not refused")
      return
    }
    TemporaryDirectory.overwrite(path, [NodeState.revision + 1] + bytes.dropFirst())
    #expect(
      Self.failure { () throws(NodeStoreError) in _ = try store.load() }
        == .newerFormat(path: path, revision: NodeState.revision + 1))
  }

  @Test func `a directory in use names the process`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = try NodeStore(directory: directory.path)
    let failure = Self.failure { () throws(NodeStoreError) in _ = try NodeStore(directory: directory.path) }
    #expect(failure == .inUse(directory: directory.path, process: getpid()))
    #expect("\(failure!)" == "data directory \(directory.path) is in use by process \(getpid()); stop it first")
    #expect(try store.usage().totalBytes > 0)
  }

  @Test func `a crash while saving leaves the old state`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = try NodeStore(directory: directory.path)
    let state = NodeState(id: NodeID(5), shards: 2)
    try store.save(state)
    TemporaryDirectory.overwrite(directory.path + "/node.state.new", [1, 2, 3])
    #expect(try store.load() == state)
    try store.save(state.started(nonce: 3))
    #expect(try store.load() == state.started(nonce: 3))
  }

  @Test func `a file in place of the directory is refused`() {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let path = directory.path + "/data"
    TemporaryDirectory.overwrite(path, [1])
    #expect(
      Self.failure { () throws(NodeStoreError) in _ = try NodeStore(directory: path) } == .notADirectory(path: path))
  }
}
