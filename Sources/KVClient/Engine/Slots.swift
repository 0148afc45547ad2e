/// Elements found by ids that name them on the wire and at the timer wheel.
///
/// An id is a slot's index and the number of its uses, so that the reply or the timer of an element which has ended is
/// not taken for those of the next one in its slot.
struct Slots<Element> {
  private struct Entry {
    var use: UInt32 = 1
    var element: Element?
  }

  /// Uses stay below this, so that the highest bits of an id are free for other tokens.
  private static var usesMax: UInt32 { 1 << 29 }

  private var entries: [Entry] = []
  private var free: [UInt32] = []

  var count: Int { entries.count - free.count }

  /// Every element, in the order of their slots.
  var all: [Element] { entries.compactMap(\.element) }

  mutating func add(_ element: Element) -> UInt64 {
    let index: UInt32
    if let last = free.popLast() {
      index = last
    } else {
      index = UInt32(entries.count)
      entries.append(Entry())
    }
    entries[Int(index)].element = element
    return UInt64(entries[Int(index)].use) << 32 | UInt64(index)
  }

  /// nil when the element was removed before.
  subscript(id: UInt64) -> Element? {
    let index = UInt32(truncatingIfNeeded: id)
    guard index < UInt32(entries.count), entries[Int(index)].use == id >> 32 else { return nil }
    return entries[Int(index)].element
  }

  /// Whether it was there.
  @discardableResult
  mutating func remove(_ id: UInt64) -> Bool {
    guard self[id] != nil else { return false }
    let index = Int(UInt32(truncatingIfNeeded: id))
    entries[index].element = nil
    entries[index].use = (entries[index].use + 1) % Slots.usesMax
    free.append(UInt32(index))
    return true
  }
}
