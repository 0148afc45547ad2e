/// What reads and writes keys: a ``KVClient``, or the in-memory store of `KVClientTesting` in a user's tests.
///
/// Two requirements; everything that calls look like is built on them, for every store alike.
///
/// ```swift
/// func greet(_ name: String, in store: some KVStore) async throws(KVError) {
///   try await store.put("greeting", "Hello, \(name)!")
/// }
/// ```
public protocol KVStore: Sendable {
  /// Reads a key, its absence included.
  func perform(_ read: KVReadRequest) async throws(KVError) -> KVState

  /// Carries out a put or a delete.
  func perform(_ write: KVWriteRequest) async throws(KVError) -> KVReceipt
}

/// What a read asks for. A struct, so that it can grow.
public struct KVReadRequest: Hashable, Sendable {
  /// The key to read.
  public var key: KVKey
  /// How many of its owners must answer.
  public var consistency: KVConsistency
  /// The most that the call takes; nil: what the store is configured for.
  public var deadline: Duration?

  /// A read of `key`.
  public init(_ key: KVKey, consistency: KVConsistency = .quorum, deadline: Duration? = nil) {
    self.key = key
    self.consistency = consistency
    self.deadline = deadline
  }
}

/// What a write asks for. A struct, so that it can grow.
public struct KVWriteRequest: Hashable, Sendable {
  /// What becomes of the key.
  public enum Operation: Hashable, Sendable {
    /// It has this value; `ttl`: from then on it is absent.
    case put([UInt8], ttl: Duration? = nil)
    /// It is absent.
    case delete
  }

  /// The key to write.
  public var key: KVKey
  /// What becomes of it.
  public var operation: Operation
  /// The history that is replaced; nil: everything that is there.
  public var context: KVContext?
  /// On how many owners it must be durable.
  public var consistency: KVConsistency
  /// The most that the call takes; nil: what the store is configured for.
  public var deadline: Duration?

  /// A write of `key`.
  public init(
    _ key: KVKey, _ operation: Operation, context: KVContext? = nil, consistency: KVConsistency = .quorum,
    deadline: Duration? = nil
  ) {
    self.key = key
    self.operation = operation
    self.context = context
    self.consistency = consistency
    self.deadline = deadline
  }
}

// MARK: Reads and writes

extension KVStore {
  /// The newest version of a key and its siblings; nil when the key is absent.
  ///
  /// `deadline` replaces the configuration's. Throws `unavailable` when fewer owners than asked for can answer.
  public func get(
    _ key: some KVKeyConvertible, consistency: KVConsistency = .quorum, deadline: Duration? = nil
  ) async throws(KVError) -> KVRead? {
    let state = try await perform(KVReadRequest(key.kvKey, consistency: consistency, deadline: deadline))
    return state.value.map { KVRead(value: $0, versions: state.versions, context: state.context) }
  }

  /// What is known of a key, its absence included: the context lets a write replace exactly this.
  public func read(
    _ key: some KVKeyConvertible, consistency: KVConsistency = .quorum, deadline: Duration? = nil
  ) async throws(KVError) -> KVState {
    try await perform(KVReadRequest(key.kvKey, consistency: consistency, deadline: deadline))
  }

  /// Writes a value.
  ///
  /// With a context it replaces exactly what was read under it, and stands beside what was written concurrently;
  /// without one it replaces everything. `ttl`: from then on the key is absent; more than zero, at most ten years.
  @discardableResult
  public func put(
    _ key: some KVKeyConvertible, _ value: [UInt8], context: KVContext? = nil, ttl: Duration? = nil,
    consistency: KVConsistency = .quorum, deadline: Duration? = nil
  ) async throws(KVError) -> KVReceipt {
    try await perform(
      KVWriteRequest(
        key.kvKey, .put(value, ttl: ttl), context: context, consistency: consistency, deadline: deadline))
  }

  /// Writes text, as UTF-8.
  @discardableResult
  public func put(
    _ key: some KVKeyConvertible, _ value: String, context: KVContext? = nil, ttl: Duration? = nil,
    consistency: KVConsistency = .quorum, deadline: Duration? = nil
  ) async throws(KVError) -> KVReceipt {
    try await put(
      key, Array(value.utf8), context: context, ttl: ttl, consistency: consistency, deadline: deadline)
  }

  /// Deletes a key; `context` as with `put`. Deleting an absent key is no error.
  @discardableResult
  public func delete(
    _ key: some KVKeyConvertible, context: KVContext? = nil, consistency: KVConsistency = .quorum,
    deadline: Duration? = nil
  ) async throws(KVError) -> KVReceipt {
    try await perform(
      KVWriteRequest(key.kvKey, .delete, context: context, consistency: consistency, deadline: deadline))
  }
}
