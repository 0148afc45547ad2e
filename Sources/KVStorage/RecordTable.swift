import KVModel

/// What is in memory of a shard's records, under one look-up a key: joins that are not yet synced, and records that are
/// and were read or written lately. What is here costs a look-up instead of a search through memtables and tables, a
/// checksum and a copy.
///
/// ```
///   stage ──► unsynced, synced before ──settle──► synced ──CLOCK──► gone
/// ```
///
/// CLOCK (Corbató, 1968): records stand in a ring in the order in which they came; the hand takes the first one that
/// nobody asked for since it last came by. A scan of keys that nobody asks for twice passes through without emptying it.
struct RecordTable {
  /// Where a key stands; it stays while the key has an unsynced join.
  typealias Place = Int

  /// The newest join of a key, and the batch that brings it to the disk.
  struct Unsynced {
    var stored: StoredRecord
    var batch: UInt64
  }

  private struct Slot {
    let key: Key
    /// Nil when it is not kept.
    var synced: EncodedRecord?
    var unsynced: Unsynced?
    var wasAsked = false
  }

  /// What an entry costs beside its bytes: two array headers, the slot, its place in the dictionary, rounding.
  static let overheadBytes = 224
  /// A longer record is not kept: one of them would drive many others out.
  static let recordBytesMax = 64 << 10

  /// Bytes that the synced records may take together; 0 = none is kept.
  let bytesMax: Int
  private(set) var bytes = 0
  /// Synced records that are kept.
  private(set) var count = 0
  private var slots: [Slot?] = []
  private var places: [Key: Place] = [:]
  /// Slots that are empty.
  private var free: [Place] = []
  private var hand = 0

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  /// What a merge joins onto.
  enum Newest {
    case unsynced(Record)
    case synced(EncodedRecord)
    case unknown
  }

  func place(of key: Key) -> Place? { places[key] }

  func key(at place: Place) -> Key? { slots.span[place]?.key }

  mutating func newest(at place: Place?) -> Newest {
    guard let place else { return .unknown }
    if let record = slots.span[place]?.unsynced?.stored.record { return .unsynced(record) }
    guard let record = slots.span[place]?.synced else { return .unknown }
    slots[place]?.wasAsked = true
    return .synced(record)
  }

  /// Whether a join of a key is not yet synced.
  func isUnsynced(_ key: Key) -> Bool { places[key].map { slots.span[$0]?.unsynced != nil } ?? false }

  /// The batch that an unsynced join of a key is in.
  func unsyncedBatch(of key: Key) -> UInt64? { places[key].flatMap { slots.span[$0]?.unsynced?.batch } }

  /// The synced record of a key.
  mutating func record(of key: Key) -> EncodedRecord? {
    guard let place = places[key], let record = slots.span[place]?.synced else { return nil }
    slots[place]?.wasAsked = true
    return record
  }

  // MARK: Joins on their way to the disk

  /// A join that a batch brings to the disk, at the place of its key if it has one.
  mutating func stage(_ stored: StoredRecord, of key: Key, at known: Place?, in batch: UInt64) -> Place {
    let place = known ?? insert(key)
    slots[place]?.unsynced = Unsynced(stored: stored, batch: batch)
    return place
  }

  /// A batch that had a join here is synced. What was synced before is replaced, or goes when a later batch has the key
  /// too: then what the disk has is not what is here.
  mutating func settle(_ place: Place, in batch: UInt64) {
    guard let newest = slots.span[place]?.unsynced?.batch else { return }
    guard newest == batch, let unsynced = slots[place]?.unsynced.take() else { return drop(place) }
    keep(unsynced.stored.encoded, at: place)
  }

  // MARK: Synced records

  /// Takes a record in that was read, in place of what is here of its key.
  mutating func store(_ record: EncodedRecord, of key: Key) {
    keep(record, at: places[key] ?? insert(key))
  }

  mutating func remove(_ key: Key) {
    if let place = places[key] { drop(place) }
  }

  /// Lets all of them go; unsynced joins stay.
  mutating func forgetSynced() {
    for place in slots.indices { drop(place) }
  }

  private mutating func keep(_ record: EncodedRecord, at place: Place) {
    let cost = cost(of: record, at: place)
    guard !record.isEmpty, record.bytes.count <= RecordTable.recordBytesMax, cost <= bytesMax else {
      return drop(place)
    }
    if let old = slots[place]?.synced { bytes -= self.cost(of: old, at: place) } else { count += 1 }
    bytes += cost
    slots[place]?.synced = record
    makeRoom()
  }

  private func cost(of record: EncodedRecord, at place: Place) -> Int {
    (slots.span[place]?.key.bytes.count ?? 0) + record.bytes.count + RecordTable.overheadBytes
  }

  private mutating func makeRoom() {
    while bytes > bytesMax, count > 0 {
      hand = hand + 1 < slots.count ? hand + 1 : 0
      guard slots.span[hand]?.synced != nil else { continue }
      if slots.span[hand]?.wasAsked == true { slots[hand]?.wasAsked = false } else { drop(hand) }
    }
  }

  /// Lets the synced record go, and the place when nothing is left there.
  private mutating func drop(_ place: Place) {
    if let record = slots[place]?.synced {
      bytes -= cost(of: record, at: place)
      count -= 1
      slots[place]?.synced = nil
    }
    guard let slot = slots[place], slot.unsynced == nil else { return }
    places[slot.key] = nil
    slots[place] = nil
    free.append(place)
  }

  private mutating func insert(_ key: Key) -> Place {
    let place = free.popLast() ?? slots.count
    if place == slots.count { slots.append(Slot(key: key)) } else { slots[place] = Slot(key: key) }
    places[key] = place
    return place
  }
}
