/// A hybrid logical clock reading: 48 bits of milliseconds since 1970, 16 bits of counter. Orders versions that
/// causality leaves unordered. (Kulkarni et al., "Logical Physical Clocks", 2014.)
public struct Stamp: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var bits: UInt64

  @inlinable
  public init(bits: UInt64) { self.bits = bits }

  /// The first stamp of a millisecond.
  @inlinable
  public init(_ wall: WallTime) { bits = wall.milliseconds &<< 16 }

  /// Before every version.
  public static let zero = Stamp(bits: 0)

  @inlinable
  public var wall: WallTime { WallTime(milliseconds: bits &>> 16) }

  /// The next stamp. After 65,536 in a millisecond it borrows from the next one.
  @inlinable
  public var next: Stamp { Stamp(bits: bits == .max ? bits : bits + 1) }

  @inlinable
  public static func < (a: Stamp, b: Stamp) -> Bool { a.bits < b.bits }

  public var description: String { "\(bits >> 16).\(bits & 0xffff)" }
}

/// The hybrid logical clock of one shard.
public struct HybridClock: Sendable {
  /// The highest stamp handed out or observed.
  public private(set) var last: Stamp

  /// A clock that continues after `floor`, the highest stamp that an earlier run may have handed out.
  public init(floor: Stamp = .zero) { last = floor }

  /// A stamp above every one that this clock handed out or observed.
  public mutating func tick(at wall: WallTime) -> Stamp {
    last = max(last.next, Stamp(wall))
    return last
  }

  /// Whether `stamp` is within the bound: at most `Limits.clockSkewMsMax` ahead of `wall`.
  public static func accepts(_ stamp: Stamp, at wall: WallTime) -> Bool {
    stamp.wall.milliseconds <= wall.milliseconds &+ Limits.clockSkewMsMax
  }

  /// The highest stamp that a node mints at `wall`.
  public static func ceiling(at wall: WallTime) -> Stamp {
    Stamp(WallTime(milliseconds: wall.milliseconds &+ Limits.clockLeadMsMax))
  }

  /// Forgets what lies further ahead of `wall` than a node may lead: a clock that was wrong and has been set right must
  /// not keep this node's writes from being accepted. Stamps may fall then; nothing but the order of siblings hangs on
  /// that.
  public mutating func limit(to wall: WallTime) { last = min(last, HybridClock.ceiling(at: wall)) }

  /// Advances past a stamp that `accepts` let in. Stamps from repair, hints and transfer are never passed here, so
  /// that one bad clock cannot drag every clock forward (HAZARDS.md row 23).
  public mutating func observe(_ stamp: Stamp) { last = max(last, stamp) }
}
