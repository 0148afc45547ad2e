/// Some of an array's bytes, not copied: a value inside the record or the frame that brought it.
///
/// It keeps the whole array alive, so what is stored for long should be most of its array.
public struct Bytes: Sendable {
  private let array: [UInt8]
  private let start: UInt32
  private let length: UInt32

  public init(_ array: [UInt8]) {
    self.init(array, start: 0, count: array.count)
  }

  /// `count` bytes of `array` from `start` on, which must be there.
  init(_ array: [UInt8], start: Int, count: Int) {
    invariant(start >= 0 && count >= 0 && start + count <= array.count, "\(count) bytes from \(start) on")
    self.array = array
    self.start = UInt32(start)
    length = UInt32(count)
  }

  /// The bytes as an array of their own; not copied where they are all of one.
  public var copied: [UInt8] {
    count == array.count ? array : withUnsafeBytes { [UInt8]($0) }
  }

  /// Calls `body` with the bytes where they are.
  public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    array.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[Int(start)..<Int(start) + count])) }
  }
}

extension Bytes: RandomAccessCollection {
  public var startIndex: Int { 0 }
  public var endIndex: Int { Int(length) }
  public subscript(place: Int) -> UInt8 { array[Int(start) + place] }
}

extension Bytes: Hashable {
  public static func == (a: Bytes, b: Bytes) -> Bool {
    a.length == b.length && a.withUnsafeBytes { a in b.withUnsafeBytes { a.equals($0) } }
  }

  public func hash(into hasher: inout Hasher) { withUnsafeBytes { hasher.combine(bytes: $0) } }
}

extension Bytes: ExpressibleByArrayLiteral {
  public init(arrayLiteral elements: UInt8...) { self.init(elements) }
}

extension [UInt8] {
  public mutating func append(contentsOf bytes: Bytes) {
    bytes.withUnsafeBytes { append(contentsOf: $0) }
  }

  /// Bytes behind a 32-bit length.
  public mutating func append(blob bytes: Bytes) {
    append(integer: UInt32(bytes.count))
    append(contentsOf: bytes)
  }
}
