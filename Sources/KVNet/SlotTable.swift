/// Values under 64-bit keys that are never given out twice: slot index in the low half, the slot's generation in the
/// high half.
///
/// ```
///   key = generation ‖ slot        entries[slot] = (generation, value?)
/// ```
///
/// An event that the kernel queued for a closed descriptor carries a key whose generation has passed, so it finds
/// nothing, even when descriptor number and slot are already in use again. Look-up is one index and one comparison.
struct SlotTable<Value> {
  private struct Entry {
    var generation: UInt32
    var value: Value?
  }

  private var entries: [Entry] = []
  private var free: [UInt32] = []

  var count: Int { entries.count - free.count }

  mutating func insert(_ value: Value) -> UInt64 {
    if let slot = free.popLast() {
      entries[Int(slot)].value = value
      return key(slot)
    }
    // The topmost slot is left out, so that keys never meet the loop's own reserved keys.
    guard entries.count < Int(UInt32.max) else { fatalError("slot table is full") }
    entries.append(Entry(generation: 0, value: value))
    return key(UInt32(entries.count - 1))
  }

  subscript(key: UInt64) -> Value? {
    let slot = Int(UInt32(truncatingIfNeeded: key))
    guard slot < entries.count, entries[slot].generation == UInt32(truncatingIfNeeded: key >> 32) else { return nil }
    return entries[slot].value
  }

  /// Forgets a value; its key finds nothing from now on. Unknown keys are ignored.
  mutating func remove(_ key: UInt64) {
    guard self[key] != nil else { return }
    let slot = UInt32(truncatingIfNeeded: key)
    entries[Int(slot)].value = nil
    entries[Int(slot)].generation &+= 1
    free.append(slot)
  }

  /// All values, in slot order.
  var values: [Value] { entries.compactMap(\.value) }

  private func key(_ slot: UInt32) -> UInt64 {
    UInt64(entries[Int(slot)].generation) << 32 | UInt64(slot)
  }
}
