import Testing

@testable import KVModel

/// xoshiro256** seeded through SplitMix64 (Blackman and Vigna, prng.di.unimi.it). The vectors come from an independent
/// implementation in Python, itself checked against the published ones: SplitMix64 of seed 1234567 begins with
/// 6457827717110365317, 3203168211198807973, 9817491932198370423; xoshiro256** of state (1, 2, 3, 4) begins with 11520,
/// 0, 1509978240, 1215971899390074240:
///
///     M = (1 << 64) - 1
///     def rotl(x, k): return ((x << k) | (x >> (64 - k))) & M
///     def state(seed):
///         for i in range(1, 5):
///             z = (seed + i * 0x9e3779b97f4a7c15) & M
///             z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & M
///             z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & M
///             yield z ^ (z >> 31)
///     def step(s):
///         result = (rotl((s[1] * 5) & M, 7) * 9) & M
///         t = (s[1] << 17) & M
///         s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = rotl(s[3], 45)
///         return result
@Suite struct PRNGTests {
  static let vectors: [(seed: UInt64, outputs: [UInt64])] = [
    (0, [0x99ec_5f36_cb75_f2b4, 0xbf6e_1f78_4956_452a, 0x1a5f_849d_4933_e6e0, 0x6aa5_94f1_262d_2d2c]),
    (1, [0xb3f2_af6d_0fc7_10c5, 0x853b_5596_4736_4cea, 0x92f8_9756_082a_4514, 0x642e_1c7b_c266_a3a7]),
    (42, [0x1578_0b2e_0c2e_c716, 0x6104_d986_6d11_3a7e, 0xae17_5332_39e4_99a1, 0xecb8_ad47_03b3_60a1]),
    (.max, [0x8f55_20d5_2a7e_ad08, 0xc476_a018_caa1_802d, 0x81de_31c0_d260_469e, 0xbf65_8d7e_065f_3c2f]),
  ]

  @Test(arguments: vectors)
  func `a seed gives the numbers of the reference`(_ seed: UInt64, _ outputs: [UInt64]) {
    var random = PRNG(seed: seed)
    #expect(outputs.map { _ in random.next() } == outputs)
  }

  @Test func `a thousand numbers of seed 42 fold to what the reference folds to`() {
    var random = PRNG(seed: 42)
    #expect((0..<1_000).reduce(UInt64(0)) { folded, _ in folded ^ random.next() } == 0x7095_fc75_b2f7_da77)
  }

  @Test func `draws stay within their bounds, reach both ends, and are even`() {
    var random = PRNG(seed: 3)
    var tally = [Int](repeating: 0, count: 7)
    for _ in 0..<70_000 { tally[random.index(7)] += 1 }
    #expect(tally.allSatisfy { (9_500...10_500).contains($0) })
    var seen = Set<UInt64>()
    for _ in 0..<1_000 { seen.insert(random.within(5...8)) }
    #expect(seen == [5, 6, 7, 8])
    for _ in 0..<1_000 {
      let bound = random.next() | 1
      #expect(random.below(bound) < bound)
      #expect(random.within(bound...bound) == bound)
      #expect((bound...(.max)).contains(random.within(bound...(.max))))
    }
    #expect(random.below(1) == 0)
    #expect((0..<100).allSatisfy { _ in !random.chance(0, of: 9) && random.chance(9, of: 9) })
    _ = random.within(0...(.max))
  }

  @Test func `a fork draws its own numbers, and drawing from it does not shift its parent`() {
    var a = PRNG(seed: 4)
    var b = PRNG(seed: 4)
    var fork = a.fork()
    var unused = b.fork()
    let drawn = (0..<100).map { _ in fork.next() }
    let parent = (0..<100).map { _ in a.next() }
    #expect(parent == (0..<100).map { _ in b.next() })
    #expect(drawn == (0..<100).map { _ in unused.next() })
    #expect(Set(drawn).isDisjoint(with: parent))
    var second = a.fork()
    #expect((0..<100).map { _ in second.next() } != drawn)
  }
}
