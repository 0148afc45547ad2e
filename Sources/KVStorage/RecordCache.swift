import KVModel

/// Synced records that were read or written lately, in their stored form: what is here costs a lookup instead of a search
/// through memtables and tables, a checksum and a copy.
///
/// CLOCK (Corbató, 1968): records stand in a ring in the order in which they came; the hand takes the first one that
/// nobody asked for since it last came by. A scan of keys that nobody asks for twice passes through without emptying it.
struct RecordCache {
  private struct Slot {
    var key: Key
    var record: EncodedRecord
    var wasAsked = false
  }

  /// What an entry costs beside its bytes: two array headers, the slot, its place in the dictionary, rounding.
  static let overheadBytes = 192
  /// A longer record is not kept: one of them would drive many others out.
  static let recordBytesMax = 64 << 10

  /// Bytes that the entries may take together; 0 = nothing is kept.
  let bytesMax: Int
  private(set) var bytes = 0
  private var slots: [Slot?] = []
  private var places: [Key: Int] = [:]
  /// Slots that are empty.
  private var free: [Int] = []
  private var hand = 0

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  var count: Int { places.count }

  mutating func record(of key: Key) -> EncodedRecord? {
    guard let place = places[key] else { return nil }
    slots[place]?.wasAsked = true
    return slots[place]?.record
  }

  /// Takes a record in, in place of what is here of its key.
  mutating func store(_ record: EncodedRecord, of key: Key) {
    let cost = RecordCache.cost(of: key, record)
    guard !record.isEmpty, record.bytes.count <= RecordCache.recordBytesMax, cost <= bytesMax else {
      return remove(key)
    }
    if let place = places[key], let old = slots[place] {
      bytes += cost - RecordCache.cost(of: key, old.record)
      slots[place]?.record = record
      return makeRoom()
    }
    bytes += cost
    makeRoom()
    let slot = Slot(key: key, record: record)
    if let place = free.popLast() {
      slots[place] = slot
      places[key] = place
    } else {
      places[key] = slots.count
      slots.append(slot)
    }
  }

  mutating func remove(_ key: Key) {
    guard let place = places[key] else { return }
    empty(place)
  }

  private static func cost(of key: Key, _ record: EncodedRecord) -> Int {
    key.bytes.count + record.bytes.count + overheadBytes
  }

  private mutating func makeRoom() {
    while bytes > bytesMax, !places.isEmpty {
      hand = hand + 1 < slots.count ? hand + 1 : 0
      guard slots[hand] != nil else { continue }
      if slots[hand]?.wasAsked == true { slots[hand]?.wasAsked = false } else { empty(hand) }
    }
  }

  private mutating func empty(_ place: Int) {
    guard let slot = slots[place] else { return }
    bytes -= RecordCache.cost(of: slot.key, slot.record)
    places[slot.key] = nil
    slots[place] = nil
    free.append(place)
  }
}
