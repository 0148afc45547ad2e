import KVModel
import Testing

@testable import KVStorage

@Suite("The table of records in memory") struct RecordTableTests {
  private func key(_ number: Int) -> Key { try! Key(Array("key-\(number)".utf8)) }

  private func record(_ number: Int, bytes: Int = 100) -> EncodedRecord {
    EncodedRecord(unverified: Array(repeating: UInt8(truncatingIfNeeded: number), count: bytes))
  }

  @Test("gives back what was stored last, and nothing of a key that was removed")
  func lastWins() {
    var cache = RecordTable(bytesMax: 1 << 20)
    cache.store(record(1), of: key(1))
    cache.store(record(2), of: key(1))
    #expect(cache.record(of: key(1)) == record(2))
    cache.remove(key(1))
    #expect(cache.record(of: key(1)) == nil)
    #expect(cache.bytes == 0)
    #expect(cache.count == 0)
  }

  @Test("keeps nothing when it is off, no empty record, and no long one: the old one goes all the same")
  func refused() {
    var off = RecordTable(bytesMax: 0)
    off.store(record(1), of: key(1))
    #expect(off.count == 0)
    var cache = RecordTable(bytesMax: 1 << 20)
    cache.store(record(1), of: key(1))
    cache.store(.empty, of: key(1))
    #expect(cache.record(of: key(1)) == nil)
    cache.store(record(1), of: key(1))
    cache.store(record(1, bytes: RecordTable.recordBytesMax + 1), of: key(1))
    #expect(cache.record(of: key(1)) == nil)
  }

  @Test("stays within its bytes, keeps what is asked for, and agrees with a dictionary on what it has")
  func againstAModel() {
    var random = PRNG(seed: 7)
    var cache = RecordTable(bytesMax: 20_000)
    var model: [Key: EncodedRecord] = [:]
    for step in 0..<20_000 {
      let number = Int(random.next() % 200)
      switch random.next() % 8 {
      case 0:
        cache.remove(key(number))
        model[key(number)] = nil
      case 1...3:
        let value = record(step, bytes: 1 + Int(random.next() % 900))
        cache.store(value, of: key(number))
        model[key(number)] = value
      default:
        if let found = cache.record(of: key(number)) { #expect(found == model[key(number)]) }
      }
      _ = cache.record(of: key(0))
      #expect(cache.bytes <= 20_000)
    }
    cache.store(record(1), of: key(0))
    for number in 1000..<1040 {
      cache.store(record(number, bytes: 900), of: key(number))
      #expect(cache.record(of: key(0)) == record(1), "asked for all the time, it went")
    }
    #expect(cache.count < 40)
  }
}
