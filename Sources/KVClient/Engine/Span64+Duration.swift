internal import KVModel

extension Span64 {
  /// A duration in the loop's unit; none is negative, and what exceeds 292 years is as good as for ever.
  init(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    guard seconds >= 0, attoseconds >= 0 else {
      self = .zero
      return
    }
    guard seconds < 9_000_000_000 else {
      self.init(nanoseconds: UInt64(Int64.max))
      return
    }
    self.init(nanoseconds: UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000))
  }
}
