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
  private struct Slot: Sendable {
    var generation: UInt32
    var operation: Operation?
  }

  let kind: OperationID.Kind
  /// The index of the shard whose operations these are.
  private(set) var shard = 0
  /// The generation that new slots begin with.
  private var firstGeneration: UInt32 = 1
  private var slots: [Slot] = []
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
      slots[slot].operation = operation
      return OperationID(kind: kind, shard: shard, slot: slot, generation: slots[slot].generation)
    }
    invariant(slots.count < OperationID.slotsMax, "\(slots.count) operations of one kind under way")
    slots.append(Slot(generation: firstGeneration, operation: operation))
    return OperationID(kind: kind, shard: shard, slot: slots.count - 1, generation: firstGeneration)
  }

  /// The operation, to be read and changed in place; nil when it has ended.
  subscript(id: OperationID) -> Operation? {
    _read { if isLive(id) { yield slots[id.slot].operation } else { yield nil } }
    _modify {
      invariant(isLive(id), "a change to operation \(id.raw), which has ended")
      yield &slots[id.slot].operation
    }
  }

  func isLive(_ id: OperationID) -> Bool {
    id.slot < slots.count && (slots[id.slot].generation == id.generation || planted(.lateReplyCounted))
      && slots[id.slot].operation != nil
  }

  @discardableResult
  mutating func remove(_ id: OperationID) -> Operation? {
    guard isLive(id) else { return nil }
    let operation = slots[id.slot].operation.take()
    slots[id.slot].generation &+= 1
    free.append(id.slot)
    count -= 1
    return operation
  }

  /// Ids of all that are under way, by slot: for the rare events that concern many.
  var ids: [OperationID] {
    slots.indices.filter { slots[$0].operation != nil }.map {
      OperationID(kind: kind, shard: shard, slot: $0, generation: slots[$0].generation)
    }
  }
}
