import KVModel

/// Names an operation of a shard: the request id of its messages, the id of its storage operations and of its timer.
///
/// | bits | field |
/// |---|---|
/// | 0…19 | slot |
/// | 20…27 | shard, so that a reply finds its asker on whatever loop it arrives |
/// | 28…31 | kind |
/// | 32…63 | generation of the slot, so that a late reply to an ended operation finds nothing; a start begins at a random one, so that a late reply to an earlier start finds nothing either |
public struct OperationID: Hashable, Sendable {
  /// Which table an operation stands in.
  public enum Kind: UInt8, Sendable {
    case read = 0
    case write = 1
    case forward = 2
    case explain = 3
    case retry = 4
    case replicaRead = 5
    case replicaWrite = 6
    case requestCheck = 7
    case exchange = 8
    case mend = 9
    case treeQuery = 10
    case delivery = 11
    case transfer = 12
    case offerQuery = 13
    case survey = 14
    /// Not an operation: the shard's own clockwork and lease.
    case housekeeping = 15
  }

  public var raw: UInt64

  @inlinable
  public init(raw: UInt64) { self.raw = raw }

  init(kind: Kind, shard: Int, slot: Int, generation: UInt32) {
    raw = UInt64(generation) << 32 | UInt64(kind.rawValue) << 28 | UInt64(shard) << 20 | UInt64(slot)
  }

  static let slotsMax = 1 << 20

  var kind: Kind? { Kind(rawValue: UInt8(truncatingIfNeeded: raw >> 28 & 0xf)) }
  var slot: Int { Int(raw & 0xf_ffff) }
  /// The index of the shard whose operation this is.
  public var shard: Int { Int(raw >> 20 & 0xff) }
  var generation: UInt32 { UInt32(truncatingIfNeeded: raw >> 32) }
}

/// Operations under way, found by slot, not by dictionary.
struct Slots<Operation: Sendable>: Sendable {
  /// Whose turn a slot has, and whether somebody has it: apart from the operations, so that looking does not touch them.
  private struct Tenancy: Sendable {
    var generation: UInt32
    var isTaken: Bool
  }

  let kind: OperationID.Kind
  /// The index of the shard whose operations these are.
  private(set) var shard = 0
  /// The generation that new slots begin with.
  private var firstGeneration: UInt32 = 1
  // The slot of an id lies one further on: the first one is always empty, and stands for what has ended.
  private var tenancies = [Tenancy(generation: 0, isTaken: false)]
  private var operations: [Operation?] = [nil]
  private var free: [Int] = []
  private(set) var count = 0

  init(_ kind: OperationID.Kind) { self.kind = kind }

  /// Before the first operation. `generation` is random.
  mutating func start(shard: Int, generation: UInt32) {
    self.shard = shard
    firstGeneration = generation
  }

  mutating func insert(_ operation: Operation) -> OperationID {
    count += 1
    if let slot = free.popLast() {
      operations[slot + 1] = operation
      tenancies[slot + 1].isTaken = true
      return id(at: slot + 1)
    }
    let slot = tenancies.count - 1
    invariant(slot < OperationID.slotsMax, "\(slot) operations of one kind under way")
    operations.append(operation)
    tenancies.append(Tenancy(generation: firstGeneration, isTaken: true))
    return id(at: slot + 1)
  }

  /// The operation, to be read and changed in place; nil when it has ended. Read single fields: a copy of a whole
  /// operation costs a dozen reference counts.
  subscript(id: OperationID) -> Operation? {
    // An array's own subscript would hand out such a copy; a span lends the element.
    _read { yield operations.span[place(of: id)] }
    _modify {
      let place = place(of: id)
      invariant(place > 0, "a change to operation \(id.raw), which has ended")
      yield &operations[place]
    }
  }

  func isLive(_ id: OperationID) -> Bool { place(of: id) > 0 }

  /// Where the operation stands; 0 when it has ended.
  private func place(of id: OperationID) -> Int {
    let place = id.slot + 1
    guard place < tenancies.count, tenancies[place].isTaken,
      tenancies[place].generation == id.generation || planted(.lateReplyCounted)
    else { return 0 }
    return place
  }

  private func id(at place: Int) -> OperationID {
    OperationID(kind: kind, shard: shard, slot: place - 1, generation: tenancies[place].generation)
  }

  @discardableResult
  mutating func remove(_ id: OperationID) -> Operation? {
    let place = place(of: id)
    guard place > 0 else { return nil }
    tenancies[place].isTaken = false
    tenancies[place].generation &+= 1
    free.append(id.slot)
    count -= 1
    return operations[place].take()
  }

  /// Ids of all that are under way, by slot: for the rare events that concern many.
  var ids: [OperationID] { tenancies.indices.filter { tenancies[$0].isTaken }.map(id) }
}
