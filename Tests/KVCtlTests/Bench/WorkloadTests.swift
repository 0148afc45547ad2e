import KVModel
import Testing

@testable import kvctl

@Suite struct `Workloads` {
  @Test(arguments: Workload.allCases)
  func `a stream has the proportions of its mix, and the same ones for the same seed`(workload: Workload) {
    let draws = 100_000
    let records: UInt64 = 1_000
    var generator = Generator(workload.mix, workload.distribution, InsertSequence(preloaded: records), seed: 7)
    var twin = generator
    var counts = [OperationKind: Int]()
    for _ in 0..<draws {
      let operation = generator.next()
      #expect(operation == twin.next())
      counts[operation.kind, default: 0] += 1
      generator.settle(operation)
      twin.settle(operation)
    }
    let mix = workload.mix
    for (kind, part) in [
      (OperationKind.read, mix.read), (.update, mix.update), (.insert, mix.insert),
      (.readModifyWrite, mix.readModifyWrite),
    ] {
      // Six standard deviations of a share of 100,000 draws are below 1 %.
      #expect(abs(Double(counts[kind, default: 0]) / Double(draws) - Double(part) / 100) < 0.01, "\(kind)")
    }
  }

  @Test func `every workload reads and updates records that are there`() {
    for workload in Workload.allCases {
      var generator = Generator(workload.mix, workload.distribution, InsertSequence(preloaded: 50), seed: 1)
      var written: UInt64 = 50
      for _ in 0..<5_000 {
        let operation = generator.next()
        if operation.kind == .insert {
          #expect(operation.record == written)
          written += 1
        } else {
          #expect(operation.record < written)
        }
        generator.settle(operation)
      }
    }
  }

  @Test func `inserts are read once all before them have ended`() {
    var inserts = InsertSequence(preloaded: 10)
    let taken = (0..<4).map { _ in inserts.take() }
    #expect(taken == [10, 11, 12, 13])
    inserts.settle(12)
    inserts.settle(11)
    #expect(inserts.count == 10)
    inserts.settle(10)
    #expect(inserts.count == 13)
    inserts.settle(3)
    #expect(inserts.count == 13)
  }

  @Test func `drivers insert different records`() {
    var all: Set<UInt64> = []
    for lane in 0..<3 {
      var inserts = InsertSequence(preloaded: 100, lane: lane, lanes: 3)
      for place in 100..<UInt64(120) {
        let record = inserts.take()
        #expect(all.insert(record).inserted)
        #expect(inserts.record(at: place) == record)
        inserts.settle(record)
        #expect(inserts.count == place + 1)
      }
    }
    #expect(all == Set(100..<UInt64(160)))
  }
}

@Suite struct `Distributions` {
  private func frequencies(_ draws: Int, _ next: () -> UInt64) -> [UInt64: Int] {
    var counts: [UInt64: Int] = [:]
    for _ in 0..<draws { counts[next(), default: 0] += 1 }
    return counts
  }

  @Test func `zipfian frequencies follow theory (Gray et al., SIGMOD 1994)`() {
    let draws = 400_000
    var zipfian = Zipfian(items: 1_000)
    var random = PRNG(seed: 3)
    let counts = frequencies(draws) { zipfian.next(&random) }
    #expect(abs((0..<UInt64(1_000)).reduce(0) { $0 + zipfian.probability(of: $1) } - 1) < 1e-9)
    // The first two ranks are exact.
    for rank in 0..<UInt64(2) {
      let share = Double(counts[rank, default: 0]) / Double(draws)
      #expect(abs(share / zipfian.probability(of: rank) - 1) < 0.03, "rank \(rank)")
    }
    // Behind them the method approximates: whole decades agree within a tenth.
    for decade in [2..<UInt64(10), 10..<100, 100..<1_000] {
      let share = Double(decade.reduce(0) { $0 + counts[$1, default: 0] }) / Double(draws)
      let theory = decade.reduce(0) { $0 + zipfian.probability(of: $1) }
      #expect(abs(share / theory - 1) < 0.1, "\(decade): \(share) for \(theory)")
    }
    #expect(counts.keys.allSatisfy { $0 < 1_000 })
  }

  @Test func `a zipfian that grew draws as one that was made so`() {
    var grown = Zipfian(items: 10)
    grown.grow(to: 500)
    let made = Zipfian(items: 500)
    for rank in [0, 1, 17, 499] as [UInt64] {
      #expect(abs(grown.probability(of: rank) / made.probability(of: rank) - 1) < 1e-9)
    }
    grown.grow(to: 3)
    #expect(grown.items == 500)
  }

  @Test(arguments: [1, 2, 3] as [UInt64]) func `few items are enough`(items: UInt64) {
    var zipfian = Zipfian(items: items)
    var random = PRNG(seed: items)
    let counts = frequencies(10_000) { zipfian.next(&random) }
    #expect(Set(counts.keys) == Set(0..<items))
  }

  @Test func `scrambled popularity lies anywhere and keeps its skew`() {
    let (draws, records) = (400_000, UInt64(10_000))
    var scrambled = ScrambledZipfian(records: records)
    var random = PRNG(seed: 5)
    let counts = frequencies(draws) { scrambled.next(&random) }
    let popular = counts.sorted { $0.value > $1.value }.prefix(20).map(\.key)
    let top = scrambled.record(of: 0)
    #expect(popular.first == top)
    let share = Double(counts[top, default: 0]) / Double(draws)
    // Its own share, and a little of the tail that is folded onto it.
    #expect(share > scrambled.probability(of: 0) * 0.97)
    #expect(share < scrambled.probability(of: 0) * 1.03 + 2 / Double(records))
    // The popular ones are in every quarter of the records.
    #expect(Set(popular.map { $0 * 4 / records }).count == 4)
    #expect(counts.keys.allSatisfy { $0 < records })
  }

  @Test func `uniform draws every record alike`() {
    var random = PRNG(seed: 9)
    var chooser = RecordChooser(.uniform, records: 100)
    let inserts = InsertSequence(preloaded: 100)
    let counts = frequencies(200_000) { chooser.place(inserts, &random) }
    #expect(counts.count == 100)
    #expect(counts.values.allSatisfy { (1_700...2_300).contains($0) })
  }

  @Test func `latest follows the inserts`() {
    var random = PRNG(seed: 2)
    var inserts = InsertSequence(preloaded: 1_000)
    var chooser = RecordChooser(.latest, records: 1_000)
    for _ in 0..<500 { inserts.settle(inserts.take()) }
    let counts = frequencies(100_000) { chooser.place(inserts, &random) }
    #expect(counts.max { $0.value < $1.value }?.key == 1_499)
    let newest = (1_490..<UInt64(1_500)).reduce(0) { $0 + counts[$1, default: 0] }
    let oldest = (0..<UInt64(10)).reduce(0) { $0 + counts[$1, default: 0] }
    #expect(newest > 20 * oldest)
    #expect(counts.keys.allSatisfy { $0 < 1_500 })
  }
}

@Suite struct `Keys and values` {
  @Test func `keys have one length and name one record each`() {
    let keys = KeyMaker(size: 16)
    #expect(String(decoding: keys.key(of: 42), as: UTF8.self) == "user000000000042")
    #expect(keys.recordsMax == 1_000_000_000_000)
    #expect(KeyMaker(size: 8).recordsMax == 10_000)
    var buffer = keys.key(of: 999_999_999_999)
    keys.make(7, into: &buffer)
    #expect(buffer == keys.key(of: 7))
    #expect(KeyMaker(size: 256).key(of: .max).count == 256)
  }

  @Test(arguments: [0, 1, 7, 1_024, 1 << 20]) func `values have their size and their checksum`(size: Int) {
    let pool = ValuePool(valueSize: size, seed: 1)
    var random = PRNG(seed: 1)
    let value = pool.next(&random)
    #expect(value.bytes.count == size)
    #expect(value.checksum == Checksum.of(value.bytes))
    if size >= 7 { #expect((0..<20).contains { _ in pool.next(&random).bytes != value.bytes }) }
  }
}
