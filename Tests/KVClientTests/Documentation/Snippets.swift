import KVClient
import KVClientCodable
import KVClientTesting
import Logging
import ServiceLifecycle

/// Every block of Swift in the client's documentation, compiled. `DocumentationTests` sees to it that each stands here
/// line by line. What needs a cluster is compiled only; the rest runs.
enum Snippets {
  struct User: Codable {
    var name: String
    var tags: Set<String>
  }

  private static func merge(_ versions: [KVVersion]) -> [UInt8] {
    Set(versions.compactMap(\.value).joined()).sorted()
  }

  // MARK: KVClient

  private static func withClient() async throws {
    try await withKVClient(.init(endpoints: ["127.0.0.1:7420"])) { kv in
      try await kv.put("user:1", "Ada")
    }
  }

  // MARK: README

  private static func readme() async throws {
    try await withKVClient(.init(endpoints: ["127.0.0.1:7420", "127.0.0.1:7430"])) { kv in
      try await kv.put("user:1", "Ada", ttl: .seconds(3600))
      if let read = try await kv.get("user:1") {
        print(read.value, read.versions.count)  // newest value; every concurrent version
        try await kv.put("user:1", "Ada L.", context: read.context)
      }
      try await kv.update("cart:7") { versions in  // read, merge, write with context, again on conflict
        .put(Set(versions.compactMap(\.value).joined()).sorted())
      }
    }
  }

  // MARK: GettingStarted

  private static func connect() async throws {
    try await withKVClient(.init(endpoints: ["10.0.0.1:7420", "10.0.0.2:7420"])) { kv in
      try await kv.put("user:1", "Ada", ttl: .seconds(3600))
      if let read = try await kv.get("user:1") {
        print(String(decoding: read.value, as: UTF8.self))
      }
    }
  }

  private static func serve(_ logger: Logger) async throws {
    let client = KVClient(.init(endpoints: ["10.0.0.1:7420"]), logger: logger)
    let group = ServiceGroup(services: [client], logger: logger)
    try await group.run()
  }

  static func sortKeys(_ kv: some KVStore) async throws {
    try await kv.put(KVKey("user:1", sortKey: "name"), "Ada")
    try await kv.put(KVKey("user:1", sortKey: "born"), "1815")
  }

  static func many(_ kv: some KVStore) async {
    for result in await kv.getMany(["user:1", "user:2"]) {
      if case .success(let read?) = result { print(read.value.count) }
    }
  }

  static func codable(_ kv: some KVStore) async throws -> User? {
    try await kv.put("user:1", encoding: User(name: "Ada", tags: ["maths"]))
    let user = try await kv.get("user:1", as: User.self)?.value
    return user
  }

  static func inMemory() async throws -> KVRead? {
    let store = InMemoryKVStore()
    try await store.put("session", "token", ttl: .seconds(60))
    store.advance(by: .seconds(61))
    let session = try await store.get("session")  // nil
    return session
  }

  // MARK: Consistency

  static func levels(_ kv: some KVStore) async throws -> KVRead? {
    try await kv.put("balance", "10", consistency: .all)
    let read = try await kv.get("balance", consistency: .one)
    return read
  }

  // MARK: Conflicts

  static func siblings(_ kv: some KVStore) async throws {
    if let read = try await kv.get("cart:7") {
      print(read.value, "and", read.versions.count - 1, "others")
    }
  }

  static func contexts(_ kv: some KVStore) async throws {
    let read = try await kv.read("cart:7")
    try await kv.put("cart:7", merge(read.versions), context: read.context)
  }

  static func receipts(_ kv: some KVStore, _ merged: [UInt8]) async throws {
    let read = try await kv.read("cart:7")
    let receipt = try await kv.put("cart:7", merged, context: read.context)
    if receipt.siblings != .absent { /* read and merge */  }
  }

  static func updates(_ kv: some KVStore) async throws {
    try await kv.update("cart:7") { versions in
      .put(merge(versions))
    }
  }

  static func union(_ kv: some KVStore) async throws {
    try await kv.update("cart:7") { versions in
      .put(versions.compactMap(\.value).reduce(into: Set<UInt8>()) { $0.formUnion($1) }.sorted())
    }
  }

  static func deletes(_ kv: some KVStore) async throws {
    let read = try await kv.read("cart:7")
    try await kv.delete("cart:7", context: read.context)
  }

  // MARK: Errors

  static func outcomes(_ kv: some KVStore) async {
    do throws(KVError) {
      try await kv.put("user:1", "Ada")
    } catch {
      switch error.outcome {
      case .notApplied: print("nothing happened:", error.message)
      case .unknown: print("it may have happened, once:", error.attempts)
      case .applied: print("it happened:", error.message)
      }
    }
  }

  static func patiently(_ kv: some KVStore) async throws {
    do throws(KVError) {
      try await kv.put("user:1", "Ada")
    } catch {
      guard error.isRetryable else { throw error }
      try await Task.sleep(for: error.retryAfter ?? .seconds(1))
      try await kv.put("user:1", "Ada")
    }
  }

  // MARK: KVStore, InMemoryKVStore

  static func greet(_ name: String, in store: some KVStore) async throws(KVError) {
    try await store.put("greeting", "Hello, \(name)!")
  }
}
