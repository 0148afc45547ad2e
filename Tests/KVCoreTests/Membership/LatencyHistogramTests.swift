import KVModel
import Testing

@testable import KVCore

struct LatencyHistogramTests {
  @Test func `a quantile is at most an eighth above the true one`() {
    var random = PRNG(seed: 4)
    for _ in 0..<200 {
      var histogram = LatencyHistogram()
      let samples = (0..<200).map { _ in random.below(1 << (4 + random.below(20))) }.sorted()
      for sample in samples { histogram.record(.microseconds(sample)) }
      for perMille in [500, 950, 990, 1_000] as [UInt64] {
        let rank = Int(max(1, (200 * perMille + 999) / 1_000))
        let truth = samples[rank - 1]
        let estimate = (histogram.quantile(perMille: perMille)?.nanoseconds ?? 0) / 1_000
        #expect(estimate >= truth && estimate <= truth + truth / 8 + 1, "\(estimate) for \(truth)")
      }
    }
  }

  @Test func `buckets are contiguous and the last one takes everything longer`() {
    for microseconds in (0..<5_000 as Range<UInt64>) {
      let bucket = LatencyHistogram.bucket(of: microseconds)
      #expect(microseconds <= LatencyHistogram.upperBound(of: bucket))
      #expect(bucket == 0 || microseconds > LatencyHistogram.upperBound(of: bucket - 1))
    }
    #expect(LatencyHistogram.bucket(of: .max) == LatencyHistogram.buckets - 1)
  }

  @Test func `decay halves, sums add`() {
    var histogram = LatencyHistogram()
    for _ in 0..<10 { histogram.record(.microseconds(7)) }
    var other = histogram
    other.decay()
    #expect(other.total == 5)
    histogram.add(other)
    #expect(histogram.total == 15)
    #expect(LatencyHistogram().quantile(perMille: 500) == nil)
  }
}
