/// The bytes of an incomplete frame: the only input that a connection keeps for itself.
///
/// ```
///   base ├── consumed ──┼── start … start+count: kept ──┼── room ──┤ capacity
/// ```
///
/// It holds no memory while empty, so an idle connection costs none, and at most what one accepted frame needs (its
/// handler named the size) or `EventLoop.scratchBytes`.
struct InputBuffer: ~Copyable {
  private var base: UnsafeMutableRawPointer?
  private var start = 0
  private(set) var count = 0
  private(set) var capacity = 0

  /// A rest this small does not hold on to a buffer larger than `bigBytes`.
  private static let smallBytes = 4 << 10
  private static let bigBytes = 64 << 10

  deinit { base?.deallocate() }

  /// What is kept. Valid until the next mutation.
  var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base.map { $0 + start }, count: count)
  }

  /// Where to read into, after `reserve`.
  var room: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base.map { $0 + start + count }, count: capacity - start - count)
  }

  /// Makes room for `total` kept bytes in all.
  mutating func reserve(_ total: Int) {
    if start + total <= capacity { return }
    move(to: max(total, capacity))
  }

  mutating func append(_ source: UnsafeRawPointer, _ length: Int) {
    reserve(count + length)
    room.copyMemory(from: UnsafeRawBufferPointer(start: source, count: length))
    count += length
  }

  /// `length` bytes were read into `room`.
  mutating func commit(_ length: Int) { count += length }

  /// Drops the first `length` bytes; a buffer that has become much too large is given back.
  mutating func consume(_ length: Int) {
    start += length
    count -= length
    if count == 0 {
      release()
    } else if count <= InputBuffer.smallBytes && capacity > InputBuffer.bigBytes {
      move(to: count)
    }
  }

  mutating func release() {
    base?.deallocate()
    base = nil
    start = 0
    count = 0
    capacity = 0
  }

  private mutating func move(to newCapacity: Int) {
    if newCapacity == capacity, let base {
      base.copyMemory(from: base + start, byteCount: count)
    } else {
      let fresh = UnsafeMutableRawPointer.allocate(byteCount: newCapacity, alignment: 16)
      if let base {
        fresh.copyMemory(from: base + start, byteCount: count)
        base.deallocate()
      }
      base = fresh
      capacity = newCapacity
    }
    start = 0
  }
}
