/// What is still to happen, earliest first; of what happens at one time, what was planned first. One total order.
///
/// A binary heap of plain triples; the events themselves stay where they are put.
struct EventQueue<Event> {
  private struct Entry {
    let at: UInt64
    let sequence: UInt64
    let slot: Int32

    @inline(__always)
    func precedes(_ other: Entry) -> Bool { at == other.at ? sequence < other.sequence : at < other.at }
  }

  private var heap: [Entry] = []
  private var slots: [Event?] = []
  private var free: [Int32] = []
  private var planned: UInt64 = 0

  var count: Int { heap.count }

  /// When the next event happens; nil when there is none.
  var nextAt: UInt64? { heap.first?.at }

  mutating func push(_ event: Event, at: UInt64) {
    let slot: Int32
    if let reused = free.popLast() {
      slot = reused
      slots[Int(slot)] = event
    } else {
      slot = Int32(slots.count)
      slots.append(event)
    }
    planned += 1
    heap.append(Entry(at: at, sequence: planned, slot: slot))
    siftUp(heap.count - 1)
  }

  mutating func pop() -> (at: UInt64, event: Event)? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      siftDown()
    }
    free.append(first.slot)
    guard let event = slots[Int(first.slot)].take() else { return nil }
    return (first.at, event)
  }

  private mutating func siftUp(_ start: Int) {
    heap.withUnsafeMutableBufferPointer { heap in
      var place = start
      let entry = heap[place]
      while place > 0 {
        let parent = (place - 1) / 2
        guard entry.precedes(heap[parent]) else { break }
        heap[place] = heap[parent]
        place = parent
      }
      heap[place] = entry
    }
  }

  private mutating func siftDown() {
    heap.withUnsafeMutableBufferPointer { heap in
      var place = 0
      let entry = heap[0]
      while true {
        var child = 2 * place + 1
        if child >= heap.count { break }
        if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
        guard heap[child].precedes(entry) else { break }
        heap[place] = heap[child]
        place = child
      }
      heap[place] = entry
    }
  }
}
