extension [UInt8] {
  /// As `==`, eight bytes at a time: the array's own way goes byte by byte.
  @inlinable
  public func equals(_ other: [UInt8]) -> Bool {
    count == other.count && withUnsafeBytes { a in other.withUnsafeBytes { a.equals($0) } }
  }
}

extension UnsafeRawBufferPointer {
  /// Whether these bytes are the same as so many others.
  @inlinable
  func equals(_ other: UnsafeRawBufferPointer) -> Bool {
    if baseAddress == other.baseAddress { return true }
    let words = count & ~7
    var place = 0
    while place < words {
      let word = loadUnaligned(fromByteOffset: place, as: UInt64.self)
      if word != other.loadUnaligned(fromByteOffset: place, as: UInt64.self) { return false }
      place += 8
    }
    while place < count {
      if self[place] != other[place] { return false }
      place += 1
    }
    return true
  }
}
