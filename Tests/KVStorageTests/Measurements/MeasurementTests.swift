import KVCore
import KVModel
import Testing

@testable import KVStorage

@Suite struct PowerHistogramTests {
  @Test func `a value is counted in the first bucket whose bound it does not exceed`() {
    var histogram = PowerHistogram(unitBits: 3, buckets: 5)
    #expect(histogram.bounds == [8, 16, 32, 64])
    for value in [0, 1, 8, 9, 16, 17, 64, 65, UInt64.max] as [UInt64] { histogram.record(value) }
    #expect(histogram.counts == [3, 2, 1, 1, 2])
    #expect(histogram.total == 9)
  }

  @Test func `the bounds hold for any value and any unit`() {
    var random = PRNG(seed: 7)
    for unitBits in [0, 8, 15] {
      for _ in 0..<2_000 {
        var histogram = PowerHistogram(unitBits: unitBits, buckets: 21)
        let value = random.next() >> (random.next() % 64)
        histogram.record(value)
        let bucket = histogram.counts.firstIndex(of: 1) ?? -1
        if bucket < 20 { #expect(value <= histogram.bounds[bucket]) }
        if bucket > 0 { #expect(value > histogram.bounds[bucket - 1]) }
      }
    }
  }

  @Test func `two add up`() {
    var one = PowerHistogram(unitBits: 0, buckets: 4)
    var other = one
    one.record(1)
    other.record(3)
    other.record(100)
    one.add(other)
    #expect(one.counts == [1, 0, 1, 1] && one.total == 3 && one.sum == 104)
  }
}

@Suite struct ShareTests {
  @Test func `the shares cover the ring, each token in the share of its upper bits`() {
    let bounds = RingShares.bounds
    #expect(bounds.count == 65)
    for (low, high) in zip(bounds, bounds.dropFirst()) { #expect(low.lexicographicallyPrecedes(high)) }
    for number in 0..<1_000 {
      let bytes = key("key-\(number)").bytes
      let share = Int(bytes[0] >> 2)
      #expect(!bytes.lexicographicallyPrecedes(bounds[share]) && bytes.lexicographicallyPrecedes(bounds[share + 1]))
    }
  }

  @Test func `the bytes of table files are found in the shares where the keys are`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = StoreUnderTest(in: directory)
    // Keys of every eighth share only, of some 20 KB each, which do not compress.
    var random = PRNG(seed: 1)
    var number = 0
    var counts = [Int](repeating: 0, count: RingShares.count)
    while counts.reduce(0, +) < 160 {
      number += 1
      let candidate = key("key-\(number)")
      let share = Int(candidate.bytes[0] >> 2)
      guard share % 8 == 3, counts[share] < 20 else { continue }
      counts[share] += 1
      let text = String((0..<20_000).map { _ in Character(UnicodeScalar(UInt8(32 + random.next() % 90))) })
      store.merge(candidate, mint(UInt64(number), text))
    }
    #expect(store.rocksDB.shareBytes.isEmpty)
    #expect(store.rocksDB.database.settle(.data) == nil)
    store.rocksDB.measureShares()
    store.rocksDB.measureShares()
    while store.rocksDB.shareBytes.isEmpty {
      try #require(store.rig.awaitResults(), "no measurement came")
      store.pump()
    }
    let bytes = store.rocksDB.shareBytes
    #expect(bytes.count == RingShares.count)
    for share in 0..<RingShares.count {
      if share % 8 == 3 {
        #expect(bytes[share] > 200_000, "share \(share) has \(bytes[share])")
      } else {
        #expect(bytes[share] < 100_000, "share \(share) has \(bytes[share])")
      }
    }
    let estimates = store.rocksDB.estimates()
    #expect(estimates.keys == 160 && estimates.tableReaderBytes > 0 && !estimates.isStalled)
    #expect(estimates.blockCacheSizeBytes == 8 << 20)
    #expect(store.rocksDB.metrics.batchOperations.sum >= 160)
    #expect(store.rocksDB.metrics.writes.total == store.rocksDB.metrics.batchBytes.total)
  }
}
