import KVModel

/// What happens in a run: a hash over all of it, and lines for people when they are wanted.
public struct Trace {
  /// Gets each line.
  public var write: ((String) -> Void)?
  /// Equal for two runs in which the same things happened at the same times.
  public private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325

  public init(write: ((String) -> Void)? = nil) { self.write = write }

  mutating func mix(_ word: UInt64) {
    hash = (hash ^ word) &* 0x9e37_79b9_7f4a_7c15
    hash ^= hash >> 29
  }

  mutating func mix(_ a: UInt64, _ b: UInt64) {
    mix(a)
    mix(b)
  }

  /// `text` is made only when somebody reads it.
  func line(_ time: UInt64, _ text: () -> String) {
    guard let write else { return }
    let micro = time / 1_000
    let fraction = "\(1_000_000 + micro % 1_000_000)".dropFirst()
    write("\(micro / 1_000_000).\(fraction)  \(text())")
  }
}
