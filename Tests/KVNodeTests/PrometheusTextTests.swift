import KVCore
import KVModel
import Testing

@testable import KVServer

@Suite struct PrometheusTextTests {
  @Test func `a family is help, type and its samples`() {
    var family = MetricFamily(.counter, "kvnode_requests_total", "Requests.")
    family.add([.init("kind", "get"), .init("outcome", "ok")], UInt64(7))
    family.add([.init("kind", "put"), .init("outcome", "ok")], UInt64.max)
    #expect(
      PrometheusText.text(of: [family, .gauge("kvnode_up_seconds", "Up.", 1.5)]) == """
        # HELP kvnode_requests_total Requests.
        # TYPE kvnode_requests_total counter
        kvnode_requests_total{kind="get",outcome="ok"} 7
        kvnode_requests_total{kind="put",outcome="ok"} 18446744073709551615
        # HELP kvnode_up_seconds Up.
        # TYPE kvnode_up_seconds gauge
        kvnode_up_seconds 1.5

        """)
  }

  @Test func `backslashes, quotes and newlines are escaped in labels, and quotes are not in help`() {
    var family = MetricFamily(.gauge, "a", "back\\slash \"quote\"\nline")
    family.add([.init("l", "back\\slash \"quote\"\nline\r\nü")], 1.0)
    #expect(
      PrometheusText.text(of: [family]) == """
        # HELP a back\\\\slash "quote"\\nline
        # TYPE a gauge
        a{l="back\\\\slash \\"quote\\"\\nline\r\\nü"} 1

        """)
  }

  @Test func `numbers that are none have their words`() {
    #expect(
      [Double.nan, .infinity, -.infinity, 0, -3, 0.000096, 1e300].map(PrometheusText.number) == [
        "NaN", "+Inf", "-Inf", "0", "-3", "9.6e-05", "1e+300",
      ])
  }

  @Test func `a family without samples is left out`() {
    #expect(PrometheusText.text(of: [MetricFamily(.counter, "a_total", "A.")]).isEmpty)
  }

  @Test func `a histogram is cumulative and ends with +Inf, sum and count`() {
    var family = MetricFamily(.histogram, "d_seconds", "D.")
    family.add(
      [.init("kind", "get")], MetricFamily.Histogram(bounds: [0.5, 1], cumulative: [1, 3], count: 4, sum: 5.25))
    #expect(
      PrometheusText.text(of: [family]).split(separator: "\n").dropFirst(2).map { String($0) } == [
        "d_seconds_bucket{kind=\"get\",le=\"0.5\"} 1", "d_seconds_bucket{kind=\"get\",le=\"1\"} 3",
        "d_seconds_bucket{kind=\"get\",le=\"+Inf\"} 4", "d_seconds_sum{kind=\"get\"} 5.25",
        "d_seconds_count{kind=\"get\"} 4",
      ])
  }

  @Test func `a latency is counted below each bound exactly, because bounds are bounds of its buckets`() {
    var random = PRNG(seed: 1)
    var latency = LatencyHistogram()
    var recorded: [UInt64] = []
    for _ in 0..<10_000 {
      let microseconds = random.next() >> (40 + random.next() % 24)
      latency.record(.microseconds(microseconds))
      recorded.append(microseconds)
    }
    let histogram = MetricFamily.Histogram(latency)
    for (index, bound) in MetricFamily.Histogram.latencyBoundsUs.enumerated() {
      #expect(histogram.cumulative[index] == UInt64(recorded.count { $0 < bound }))
    }
    #expect(histogram.bounds.first == 0.000096 && (histogram.bounds.last ?? 0) >= 10 && histogram.count == 10_000)
  }
}
