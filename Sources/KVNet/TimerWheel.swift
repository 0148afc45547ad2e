/// Timers in eight wheels of 64 slots, each slot of a wheel as wide as the whole wheel before it: insertion is O(1),
/// and nothing is ever sorted.
///
/// ```
///   wheel 0   |.|.|x|.| … 64 slots of 1 ms       a timer sits in the wheel of the highest 6-bit digit in which
///   wheel 1   |x|.|.|.| … 64 slots of 64 ms      its tick differs from the current one; when the current tick
///   wheel 2   |.|.|.|.| … 64 slots of 4 s        reaches its slot, it falls into the lower wheels (at most 7 times)
/// ```
///
/// Eight digits cover every 64-bit number of nanoseconds, so no deadline needs clamping. A slot is a linked list in one
/// pool of nodes, so a timer allocates nothing of its own; an occupancy word per wheel finds the next slot in one
/// instruction. Timers of one tick fire in the order of their insertion. Never early; late by less than a tick (1 ms)
/// and the turn.
///
/// There is no cancel: a timer carries a token, and an owner that no longer wants it ignores the token when it comes
/// (slot index and generation make a good one). A cancelled timer thus costs 32 bytes until its deadline.
///
/// Paper: Varghese and Lauck, "Hashed and hierarchical timing wheels", SOSP 1987, scheme 7.
public struct TimerWheel {
  /// What a timer says when it fires.
  public struct Firing: Equatable, Sendable {
    public let client: UInt64
    public let token: UInt64
  }

  private struct Node {
    var tick: UInt64
    var token: UInt64
    var client: UInt64
    var next: UInt32
  }

  public static let nanosecondsPerTick: UInt64 = 1_000_000
  private static let levels = 8
  private static let none = UInt32.max
  /// An empty pool larger than this is given back, nodes.
  private static let keptNodes = 1 << 16

  private var nodes: [Node] = []
  private var freeHead = TimerWheel.none
  private var heads = [UInt32](repeating: TimerWheel.none, count: 64 * TimerWheel.levels)
  private var tails = [UInt32](repeating: TimerWheel.none, count: 64 * TimerWheel.levels)
  /// Bit s of word l: slot s of wheel l is not empty. Invariant: s > digit l of `current`.
  private var occupied = [UInt64](repeating: 0, count: TimerWheel.levels)
  /// Every tick up to this one has fired.
  private var current: UInt64

  /// Timers that wait, ignored ones included.
  public private(set) var count = 0

  public init(now nanoseconds: UInt64) {
    current = nanoseconds / TimerWheel.nanosecondsPerTick
  }

  /// Adds a timer. A deadline that has passed fires at the next tick.
  public mutating func insert(at deadline: UInt64, client: UInt64, token: UInt64) {
    let (whole, rest) = deadline.quotientAndRemainder(dividingBy: TimerWheel.nanosecondsPerTick)
    let tick = max(whole + (rest == 0 ? 0 : 1), current + 1)
    place(makeNode(Node(tick: tick, token: token, client: client, next: TimerWheel.none)))
    count += 1
  }

  /// Appends what has fired by `nanoseconds`, in order of ticks, then of insertion. A clock that stands still or steps
  /// back fires nothing.
  public mutating func advance(to nanoseconds: UInt64, into fired: inout [Firing]) {
    let target = nanoseconds / TimerWheel.nanosecondsPerTick
    while current < target {
      guard let next = nextSlot(), next.tick <= target else {
        current = target
        break
      }
      current = next.tick
      drain(level: next.level, slot: next.slot, into: &fired)
    }
    if count == 0 && nodes.count > TimerWheel.keptNodes { releasePool() }
  }

  /// When `advance` should be called next, nanoseconds; nil when no timer waits. Never after the earliest deadline's
  /// tick; it may be before, when a slot of a higher wheel has to be dealt out first.
  public var nextWake: UInt64? {
    nextSlot().map { $0.tick &* TimerWheel.nanosecondsPerTick }
  }

  // MARK: slots

  /// The first occupied slot. Lower wheels come first: all of theirs lies before the next slot of a higher one.
  private func nextSlot() -> (level: Int, slot: Int, tick: UInt64)? {
    if count == 0 { return nil }
    for level in 0..<TimerWheel.levels where occupied[level] != 0 {
      let slot = occupied[level].trailingZeroBitCount
      let shift = UInt64(6 * level)
      let above = (current >> (shift + 6)) << (shift + 6)
      return (level, slot, above | UInt64(slot) << shift)
    }
    return nil
  }

  /// Empties a slot that the current tick has just reached: what is due fires, the rest falls to lower wheels.
  private mutating func drain(level: Int, slot: Int, into fired: inout [Firing]) {
    let index = level * 64 + slot
    var node = heads[index]
    heads[index] = TimerWheel.none
    tails[index] = TimerWheel.none
    occupied[level] &= ~(1 << UInt64(slot))
    while node != TimerWheel.none {
      let following = nodes[Int(node)].next
      if nodes[Int(node)].tick <= current {
        fired.append(Firing(client: nodes[Int(node)].client, token: nodes[Int(node)].token))
        recycle(node)
      } else {
        place(node)
      }
      node = following
    }
  }

  /// Links a node to the end of the slot that its tick belongs to, as seen from `current`. Needs tick > current.
  private mutating func place(_ node: UInt32) {
    let tick = nodes[Int(node)].tick
    let level = (63 - (tick ^ current).leadingZeroBitCount) / 6
    let slot = Int(tick >> UInt64(6 * level)) & 63
    let index = level * 64 + slot
    nodes[Int(node)].next = TimerWheel.none
    if heads[index] == TimerWheel.none {
      heads[index] = node
      occupied[level] |= 1 << UInt64(slot)
    } else {
      nodes[Int(tails[index])].next = node
    }
    tails[index] = node
  }

  // MARK: pool

  private mutating func makeNode(_ node: Node) -> UInt32 {
    guard freeHead != TimerWheel.none else {
      nodes.append(node)
      return UInt32(nodes.count - 1)
    }
    let index = freeHead
    freeHead = nodes[Int(index)].next
    nodes[Int(index)] = node
    return index
  }

  private mutating func recycle(_ node: UInt32) {
    nodes[Int(node)].next = freeHead
    freeHead = node
    count -= 1
  }

  private mutating func releasePool() {
    nodes = []
    freeHead = TimerWheel.none
  }
}
