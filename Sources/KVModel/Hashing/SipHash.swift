/// SipHash-2-4 with a 64-bit result (Aumasson and Bernstein, 2012): who does not know the key cannot make a message
/// whose hash is right.
public enum SipHash {
  private struct State {
    var v0: UInt64
    var v1: UInt64
    var v2: UInt64
    var v3: UInt64

    init(low: UInt64, high: UInt64) {
      v0 = low ^ 0x736f_6d65_7073_6575
      v1 = high ^ 0x646f_7261_6e64_6f6d
      v2 = low ^ 0x6c79_6765_6e65_7261
      v3 = high ^ 0x7465_6462_7974_6573
    }

    mutating func round() {
      v0 = v0 &+ v1
      v1 = State.rotate(v1, 13) ^ v0
      v0 = State.rotate(v0, 32)
      v2 = v2 &+ v3
      v3 = State.rotate(v3, 16) ^ v2
      v0 = v0 &+ v3
      v3 = State.rotate(v3, 21) ^ v0
      v2 = v2 &+ v1
      v1 = State.rotate(v1, 17) ^ v2
      v2 = State.rotate(v2, 32)
    }

    mutating func absorb(_ word: UInt64) {
      v3 ^= word
      round()
      round()
      v0 ^= word
    }

    mutating func finish() -> UInt64 {
      v2 ^= 0xff
      for _ in 0..<4 { round() }
      return v0 ^ v1 ^ v2 ^ v3
    }

    private static func rotate(_ x: UInt64, _ by: UInt64) -> UInt64 { x &<< by | x &>> (64 &- by) }
  }

  /// The hash of `bytes` under a key of 128 bits.
  public static func hash(_ bytes: some Collection<UInt8>, low: UInt64, high: UInt64) -> UInt64 {
    var state = State(low: low, high: high)
    var word: UInt64 = 0
    var filled: UInt64 = 0
    for byte in bytes {
      word |= UInt64(byte) &<< (8 &* filled)
      filled &+= 1
      if filled == 8 {
        state.absorb(word)
        word = 0
        filled = 0
      }
    }
    state.absorb(word | UInt64(bytes.count & 0xff) &<< 56)
    return state.finish()
  }
}
