/// A seeded generator, xoshiro256** by Blackman and Vigna, seeded through SplitMix64. Integers only: libm differs
/// between machines, and a seed must mean the same everywhere.
public struct PRNG: Sendable, RandomNumberGenerator {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  public init(seed: UInt64) {
    var mix = seed
    func next() -> UInt64 {
      mix &+= 0x9e37_79b9_7f4a_7c15
      var z = mix
      z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
      return z ^ z >> 31
    }
    state = (next(), next(), next(), next())
  }

  public mutating func next() -> UInt64 {
    func rotate(_ x: UInt64, _ by: UInt64) -> UInt64 { x << by | x >> (64 - by) }
    let result = rotate(state.1 &* 5, 7) &* 9
    let t = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= t
    state.3 = rotate(state.3, 45)
    return result
  }

  /// A number in 0..<`bound`, by Lemire's multiplication. The bias is below 2^-32 for bounds below 2^32.
  public mutating func below(_ bound: UInt64) -> UInt64 {
    invariant(bound > 0, "a draw below zero")
    return next().multipliedFullWidth(by: bound).high
  }

  /// An index in 0..<`count`.
  public mutating func index(_ count: Int) -> Int { Int(below(UInt64(count))) }

  /// A number in `range`, both ends included.
  public mutating func within(_ range: ClosedRange<UInt64>) -> UInt64 {
    let width = range.upperBound - range.lowerBound
    return width == .max ? next() : range.lowerBound + below(width + 1)
  }

  /// True in `parts` of `whole` cases.
  public mutating func chance(_ parts: UInt64, of whole: UInt64) -> Bool { below(whole) < parts }

  /// A generator of its own for a part of the system, so that draws here do not shift draws there.
  public mutating func fork() -> PRNG { PRNG(seed: next()) }
}
