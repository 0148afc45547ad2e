import Testing

@testable import KVModel

#if DEBUG
  private let rounds = 400
#else
  private let rounds = 32_000
#endif

/// Issue 2, part 2: decoders reject every malformed input without a trap. Forty decoders times 32,000 inputs.
@Suite struct MutationTests {
  @Test(arguments: Decoder.all)
  func `a mutated input is refused, or is what its decoded value encodes to`(_ decoder: Decoder) {
    let tally = attack(decoder, rounds: rounds)
    #expect(tally.violations == 0, "the first: \(tally.firstViolation)")
    #expect(tally.refused + tally.accepted == rounds)
    if !["goAway", "cancel", "describe", "fetchLayout", "done"].contains(decoder.name) {
      #expect(tally.accepted > 0, "no mutation got past the checks: this attack is blunt")
    }
    #expect(tally.refused > 0)
  }

  @Test func `the attack meets at least a million inputs in release`() {
    #if DEBUG
      let least = 10_000
    #else
      let least = 1_000_000
    #endif
    #expect(Decoder.all.count * rounds >= least)
  }

  /// Style 39: a decoder that overlooks a reserved byte accepts two encodings of one value; the attack must say so.
  @Test func `planted: the attack catches a decoder that overlooks what it should refuse`() {
    let sloppy = Decoder("a flag that is any non-zero byte") {
      [UInt8($0.below(2))]
    } recode: {
      (input) throws(DecodeError) in
      guard input.count == 1 else { throw .truncated }
      return [input[0] == 0 ? 0 : 1]
    }
    #expect(attack(sloppy, rounds: 1_000).violations > 0)
    let forgetful = Decoder("no end of input") {
      $0.key().bytes
    } recode: { (input) throws(DecodeError) in
      guard input.count >= 12 else { throw .truncated }
      return Array(input[..<12])
    }
    #expect(attack(forgetful, rounds: 1_000).violations > 0)
  }
}

private struct Tally {
  var refused = 0
  var accepted = 0
  var violations = 0
  var firstViolation: [UInt8] = []
}

/// Drives `decoder` with mutations of valid inputs, half of them with their checksums made to agree again.
private func attack(_ decoder: Decoder, rounds: Int) -> Tally {
  var random = PRNG(seed: Checksum.of(Array(decoder.name.utf8)))
  let corpus = (0..<64).map { _ in decoder.valid(&random) }
  var tally = Tally()
  for round in 0..<rounds {
    let mutation = Mutation.allCases[round % Mutation.allCases.count]
    var input = mutation.apply(to: random.pick(corpus), random.pick(corpus), with: &random)
    if random.chance(1, of: 4) {
      input = random.pick(Mutation.allCases).apply(to: input, random.pick(corpus), with: &random)
    }
    if random.chance(2, of: 3) { decoder.reseal(&input) }
    do {
      let recoded = try decoder.recode(input)
      tally.accepted += 1
      if recoded != input {
        if tally.violations == 0 { tally.firstViolation = input }
        tally.violations += 1
      }
    } catch { tally.refused += 1 }
  }
  return tally
}
