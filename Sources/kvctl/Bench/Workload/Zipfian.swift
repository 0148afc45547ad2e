import Foundation
import KVModel

/// Ranks 0..<items, rank r with a probability proportional to 1/(r+1)^θ: rank 0 is the most popular.
///
/// ```
///   popularity  │█
///               │█▄
///               │██▄▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁   rank ─▶
/// ```
///
/// Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994, figure 2, with the θ of YCSB. A
/// draw costs one `pow`; the harmonic sum ζ(items) is made once and extended when items are added.
struct Zipfian: Sendable {
  static let theta = 0.99
  private static let zeta2 = 1 + pow(0.5, theta)

  private(set) var items: UInt64
  private var zeta: Double
  private var eta: Double

  /// Invariant: items >= 1.
  init(items: UInt64) {
    self.init(items: items, zeta: Zipfian.sum(0..<max(1, items)))
  }

  /// With a ζ that is known already.
  init(items: UInt64, zeta: Double) {
    self.items = max(1, items)
    self.zeta = zeta
    eta = Zipfian.eta(self.items, zeta)
  }

  /// Adds items at the unpopular end; costs one `pow` each.
  mutating func grow(to items: UInt64) {
    guard items > self.items else { return }
    zeta += Zipfian.sum(self.items..<items)
    self.items = items
    eta = Zipfian.eta(items, zeta)
  }

  mutating func next(_ random: inout PRNG) -> UInt64 {
    let u = random.fraction()
    let uz = u * zeta
    if uz < 1 { return 0 }
    if uz < Zipfian.zeta2 { return min(1, items - 1) }
    let rank = Double(items) * pow(eta * u - eta + 1, 1 / (1 - Zipfian.theta))
    return min(UInt64(max(0, rank)), items - 1)
  }

  /// What share of the draws a rank has in theory.
  func probability(of rank: UInt64) -> Double { pow(1 / Double(rank + 1), Zipfian.theta) / zeta }

  private static func sum(_ ranks: Range<UInt64>) -> Double {
    ranks.reduce(0) { $0 + pow(1 / Double($1 + 1), theta) }
  }

  private static func eta(_ items: UInt64, _ zeta: Double) -> Double {
    guard items > 2 else { return 1 }
    return (1 - pow(2 / Double(items), 1 - theta)) / (1 - zeta2 / zeta)
  }
}

/// Zipfian popularity whose popular records lie anywhere: ranks of ten billion, hashed onto the records.
///
/// As YCSB does it: the number of ranks, and so ζ, does not depend on the records, and the hash folds the long tail evenly
/// over all of them.
struct ScrambledZipfian: Sendable {
  private static let ranks: UInt64 = 10_000_000_000
  /// ζ(10^10) for θ = 0.99, as YCSB has it.
  private static let zeta = 26.46902820178302

  let records: UInt64
  private var ranks = Zipfian(items: ScrambledZipfian.ranks, zeta: ScrambledZipfian.zeta)

  init(records: UInt64) { self.records = max(1, records) }

  mutating func next(_ random: inout PRNG) -> UInt64 { record(of: ranks.next(&random)) }

  /// Where a rank lies among the records.
  func record(of rank: UInt64) -> UInt64 { FNV.hash(rank) % records }

  /// What share of the draws a rank has in theory, before others share its record.
  func probability(of rank: UInt64) -> Double { ranks.probability(of: rank) }
}

/// FNV-1a over the eight bytes of a number, the hash of YCSB's generators.
enum FNV {
  static func hash(_ value: UInt64) -> UInt64 {
    var (hash, rest): (UInt64, UInt64) = (0xcbf2_9ce4_8422_2325, value)
    for _ in 0..<8 {
      hash = (hash ^ rest & 0xff) &* 0x100_0000_01b3
      rest >>= 8
    }
    return hash
  }
}

extension PRNG {
  /// A number from 0 up to and without 1, in steps of 2^-53.
  mutating func fraction() -> Double { Double(next() >> 11) * 0x1p-53 }
}
