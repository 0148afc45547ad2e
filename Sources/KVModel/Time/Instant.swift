/// A reading of a node's monotonic clock, nanoseconds. Only differences within one process mean something.
public struct Instant: Hashable, Comparable, Sendable {
  public var nanoseconds: UInt64

  @inlinable
  public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// Later than every reading.
  public static let distantFuture = Instant(nanoseconds: .max)

  @inlinable
  public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

  /// This instant and `span`, or `distantFuture` when that is later.
  @inlinable
  public func advanced(by span: Span64) -> Instant {
    let (sum, overflow) = nanoseconds.addingReportingOverflow(span.nanoseconds)
    return overflow ? .distantFuture : Instant(nanoseconds: sum)
  }

  /// The time from `earlier` to this instant; zero when `earlier` is later.
  @inlinable
  public func since(_ earlier: Instant) -> Span64 {
    Span64(nanoseconds: nanoseconds > earlier.nanoseconds ? nanoseconds &- earlier.nanoseconds : 0)
  }

  /// Whole milliseconds: the unit of deadlines on the wire.
  @inlinable
  public var milliseconds: UInt64 { nanoseconds / 1_000_000 }
}

/// A span of time that is never negative, nanoseconds. `Duration` costs two words and 128-bit arithmetic.
public struct Span64: Hashable, Comparable, Sendable {
  public var nanoseconds: UInt64

  @inlinable
  public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  public static let zero = Span64(nanoseconds: 0)

  @inlinable public static func microseconds(_ n: UInt64) -> Span64 { Span64(nanoseconds: n &* 1_000) }
  @inlinable public static func milliseconds(_ n: UInt64) -> Span64 { Span64(nanoseconds: n &* 1_000_000) }
  @inlinable public static func seconds(_ n: UInt64) -> Span64 { Span64(nanoseconds: n &* 1_000_000_000) }

  @inlinable
  public static func < (a: Span64, b: Span64) -> Bool { a.nanoseconds < b.nanoseconds }

  /// Whole milliseconds, rounded down.
  @inlinable public var milliseconds: UInt64 { nanoseconds / 1_000_000 }
}

/// A reading of a node's wall clock, milliseconds since 1970. It may step; nothing but stamps and expiry uses it.
public struct WallTime: Hashable, Comparable, Sendable {
  public var milliseconds: UInt64

  @inlinable
  public init(milliseconds: UInt64) { self.milliseconds = milliseconds }

  @inlinable
  public static func < (a: WallTime, b: WallTime) -> Bool { a.milliseconds < b.milliseconds }
}

/// Both clocks of a node, read together once a turn of its event loop.
public struct Now: Hashable, Sendable {
  public var instant: Instant
  public var wall: WallTime

  @inlinable
  public init(instant: Instant, wall: WallTime) {
    self.instant = instant
    self.wall = wall
  }
}
