import FakeNodes
import KVClient
import KVClientCodable
import KVClientTesting
import Synchronization
import Testing

/// One contract for every store behind the protocol: a client of a cluster, and the store in memory of users' tests.
@Suite struct `Every store` {
  enum Kind: CaseIterable {
    case client
    case inMemory
  }

  private func with(_ kind: Kind, _ body: (any KVStore) async throws -> Void) async throws {
    switch kind {
    case .inMemory: try await body(InMemoryKVStore())
    case .client:
      let cluster = try await FakeCluster.start(3)
      try await withKVClient(configuration(cluster)) { try await body($0) }
      await cluster.stop()
    }
  }

  @Test(arguments: Kind.allCases) func `gives back what was put, and nothing after a delete`(kind: Kind) async throws {
    try await with(kind) { store in
      #expect(try await store.get("k") == nil)
      try await store.put("k", "v")
      #expect(try await store.get("k")?.value == Array("v".utf8))
      try await store.put(KVKey("k", sortKey: "s"), "other")
      try await store.delete("k")
      #expect(try await store.get("k") == nil)
      #expect(try await store.get(KVKey("k", sortKey: "s"))?.value == Array("other".utf8))
    }
  }

  @Test(arguments: Kind.allCases) func `keeps concurrent writes as siblings until a context covers them`(
    kind: Kind
  ) async throws {
    try await with(kind) { store in
      let before = try await store.read("k")
      for value in ["a", "b"] { try await store.put("k", value, context: before.context) }
      let both = try await store.read("k")
      #expect(both.versions.map(\.value) == [Array("b".utf8), Array("a".utf8)])
      #expect(try await store.put("k", "ab", context: both.context).context != nil)
      #expect(try await store.read("k").versions.count == 1)
    }
  }

  @Test(arguments: Kind.allCases) func `a write without a context replaces everything`(kind: Kind) async throws {
    try await with(kind) { store in
      let before = try await store.read("k")
      for value in ["a", "b"] { try await store.put("k", value, context: before.context) }
      try await store.put("k", "last")
      #expect(try await store.read("k").versions.map(\.value) == [Array("last".utf8)])
    }
  }

  @Test(arguments: Kind.allCases) func `refuses another key's context, and what no node would take`(kind: Kind)
    async throws
  {
    try await with(kind) { store in
      let context = try await store.read("a").context
      #expect(
        await failure { () throws(KVError) in try await store.put("b", "v", context: context) }?.code == .invalidContext
      )
      #expect(await failure { () throws(KVError) in try await store.get("") }?.code == .invalidKey)
      #expect(await failure { () throws(KVError) in try await store.put("a", "v", ttl: .zero) }?.code == .invalidTTL)
    }
  }

  @Test(arguments: Kind.allCases) func `an update makes one of all versions, and one of none`(kind: Kind) async throws {
    try await with(kind) { store in
      let before = try await store.read("set")
      for value: [UInt8] in [[1, 2], [2, 3]] { try await store.put("set", value, context: before.context) }
      let union = { (versions: [KVVersion], more: UInt8) in
        KVUpdate.put(Set(versions.compactMap(\.value).joined() + [more]).sorted())
      }
      try await store.update("set", deadline: inVain) { union($0, 9) }
      #expect(try await store.read("set").versions.map(\.value) == [[1, 2, 3, 9]])
      try await store.update("new", deadline: inVain) { union($0, 7) }
      #expect(try await store.get("new")?.value == [7])
      try await store.update("new", deadline: inVain) { _ in .delete }
      #expect(try await store.get("new") == nil)
      let left = try await store.update("never", deadline: inVain) { _ in .leave }
      #expect(left == nil)
      #expect(try await store.read("never").versions.isEmpty)
    }
  }

  @Test(arguments: Kind.allCases) func `a receipt tells whether versions lie beside the write`(kind: Kind) async throws
  {
    try await with(kind) { store in
      let before = try await store.read("k")
      #expect(try await store.put("k", "a", context: before.context).siblings == .absent)
      #expect(try await store.put("k", "b", context: before.context).siblings == .present)
      #expect(try await store.delete("k", context: before.context).siblings == .present)
      #expect(try await store.put("k", "c").siblings == .absent)
    }
  }

  @Test(arguments: Kind.allCases) func `an update that meets nobody is one read and one write`(kind: Kind) async throws
  {
    try await with(kind) { store in
      let counting = Counting(store: store)
      try await counting.update("set", deadline: inVain) { .put($0.compactMap(\.value).joined() + [1]) }
      #expect(counting.calls == [1, 1])
      // Where the receipt tells nothing, a read has to.
      let untold = Counting(store: store, hidesSiblings: true)
      try await untold.update("set", deadline: inVain) { .put($0.compactMap(\.value).joined() + [2]) }
      #expect(untold.calls == [2, 1])
      #expect(try await store.read("set").versions.map(\.value) == [[1, 2]])
    }
  }

  /// A write that a retry found: others may have written beside it, and a read would not surely show it.
  @Test(arguments: Kind.allCases) func `an update whose write was found applied writes again`(kind: Kind) async throws {
    try await with(kind) { store in
      let found = Counting(store: store, hidesSiblings: true, finds: Countdown(1))
      try await found.update("set", deadline: inVain) { _ in .put([1]) }
      #expect(found.calls == [3, 2])
    }
  }

  @Test(arguments: Kind.allCases) func `an update without time is not applied and says so`(kind: Kind) async throws {
    try await with(kind) { store in
      let error = await failure { () throws(KVError) in
        try await Counting(store: store).update("set", deadline: .zero) { _ in .put([1]) }
      }
      #expect(error?.code == .timedOut && error?.outcome == .notApplied)
    }
  }

  @Test(arguments: Kind.allCases) func `an update is repeated when another write comes between`(kind: Kind) async throws
  {
    try await with(kind) { store in
      let meddler = Meddler(store: store, meddles: Countdown(2))
      var shown: [[[UInt8]?]] = []
      try await meddler.update("set", deadline: inVain) { versions in
        shown.append(versions.map(\.value))
        return .put(Set(versions.compactMap(\.value).joined() + [1]).sorted())
      }
      // The second read saw the first meddling beside the first merge; the third one found the last merge alone.
      #expect(shown.count == 3)
      #expect(shown.first == [])
      #expect(shown.dropFirst().allSatisfy { $0.count == 2 }, "\(shown)")
      #expect(try await store.read("set").versions.map(\.value) == [[1, 7]])
    }
  }

  @Test(arguments: Kind.allCases) func `many tasks updating one key lose nothing`(kind: Kind) async throws {
    try await with(kind) { store in
      let results = await withTaskGroup(of: KVError?.self) { group in
        for number in 0..<8 {
          group.addTask {
            await failure { () throws(KVError) in
              try await store.update("set", deadline: inVain) { versions in
                .put(Set(versions.compactMap(\.value).joined() + [UInt8(number)]).sorted())
              }
            }
          }
        }
        return await group.reduce(into: []) { $0.append($1) }
      }
      // A conflict is applied too: its version lies beside.
      for error in results { #expect(error == nil || error?.outcome == .applied, "\(String(describing: error))") }
      let all = try await store.read("set").versions.compactMap(\.value).joined()
      #expect(Set(all) == Set(0..<8))
    }
  }

  @Test(arguments: Kind.allCases) func `many keys come in their order, each with its own error`(kind: Kind) async throws
  {
    try await with(kind) { store in
      for number in stride(from: 0, to: 100, by: 2) { try await store.put("key-\(number)", "\(number)") }
      let keys = (0..<100).map { "key-\($0)" } + [String(repeating: "x", count: 300)]
      let results = await store.getMany(keys, concurrency: 7)
      #expect(results.count == 101)
      for (number, result) in results.dropLast().enumerated() {
        let value = try result.get()?.value
        #expect(value == (number.isMultiple(of: 2) ? Array("\(number)".utf8) : nil))
      }
      #expect(throws: KVError.self) { try results[100].get() }
      #expect(await store.getMany([String]()).isEmpty)
    }
  }

  private struct User: Codable, Equatable {
    var name: String
    var tags: Set<String>
  }

  @Test(arguments: Kind.allCases) func `Codable values come back, merge, and name what is none`(kind: Kind) async throws
  {
    try await with(kind) { store in
      try await store.put("user", encoding: User(name: "Ada", tags: ["a"]))
      #expect(try await store.get("user", as: User.self)?.value == User(name: "Ada", tags: ["a"]))
      try await store.update("user", as: User.self, deadline: inVain) { users in
        User(name: users.first?.name ?? "nobody", tags: users.reduce(into: ["b"]) { $0.formUnion($1.tags) })
      }
      #expect(try await store.get("user", as: User.self)?.versions == [User(name: "Ada", tags: ["a", "b"])])
      try await store.put("user", "secret, not JSON")
      let error = await failure { () throws(KVError) in try await store.get("user", as: User.self) }
      #expect(error?.code == .codingFailed)
      #expect(error.map { "\($0)".contains("secret") } == false)
    }
  }
}

@Suite struct `The store in memory` {
  @Test func `time passes when it is told to`() async throws {
    let store = InMemoryKVStore()
    try await store.put("k", "v", ttl: .seconds(60))
    store.advance(by: .seconds(59))
    #expect(try await store.get("k") != nil && store.count == 1)
    store.advance(by: .seconds(1))
    #expect(try await store.get("k") == nil && store.count == 0)
    #expect(try await store.read("k").versions.count == 1, "an expired version is a tombstone")
  }

  @Test func `calls fail as they are told to, without effect`() async throws {
    let store = InMemoryKVStore()
    store.failNext(KVError(.unavailable, "two owners are away"), KVError(.timedOut, "late"))
    #expect(await failure { () throws(KVError) in try await store.put("k", "v") }?.code == .unavailable)
    #expect(await failure { () throws(KVError) in try await store.get("k") }?.code == .timedOut)
    #expect(try await store.get("k") == nil)
  }

  @Test func `an update under steady conflict ends as a conflict that is applied`() async throws {
    let store = Meddler(store: InMemoryKVStore(), meddles: Countdown(.max))
    let error = await failure { () throws(KVError) in
      try await store.update("k", deadline: inVain) { _ in .put([1]) }
    }
    #expect(error?.code == .conflict)
    #expect(error?.outcome == .applied)
  }
}

/// Counts reads and writes; may take from receipts what they tell of siblings.
private struct Counting: KVStore {
  let store: any KVStore
  var hidesSiblings = false
  var finds = Countdown(0)
  private let reads = SharedCount()
  private let writes = SharedCount()

  init(store: any KVStore, hidesSiblings: Bool = false, finds: Countdown = Countdown(0)) {
    self.store = store
    self.hidesSiblings = hidesSiblings
    self.finds = finds
  }

  /// Reads, writes.
  var calls: [Int] { [reads.value, writes.value] }

  func perform(_ read: KVReadRequest) async throws(KVError) -> KVState {
    reads.add()
    return try await store.perform(read)
  }

  func perform(_ write: KVWriteRequest) async throws(KVError) -> KVReceipt {
    writes.add()
    var receipt = try await store.perform(write)
    if hidesSiblings { receipt.siblings = .unknown }
    receipt.wasFound = finds.next()
    return receipt
  }
}

private final class SharedCount: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .relaxed) }
  func add() { count.add(1, ordering: .relaxed) }
}

/// Lets another write come in after a read, so often.
private struct Meddler: KVStore {
  let store: any KVStore
  let meddles: Countdown

  func perform(_ read: KVReadRequest) async throws(KVError) -> KVState {
    let state = try await store.perform(read)
    if meddles.next() {
      _ = try await store.perform(KVWriteRequest(read.key, .put([7]), context: state.context))
    }
    return state
  }

  func perform(_ write: KVWriteRequest) async throws(KVError) -> KVReceipt { try await store.perform(write) }
}
