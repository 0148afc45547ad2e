extension [UInt8] {
  /// As `==`, eight bytes at a time: the array's own way goes byte by byte.
  @inlinable
  public func equals(_ other: [UInt8]) -> Bool {
    guard count == other.count else { return false }
    return withUnsafeBytes { a in
      other.withUnsafeBytes { b in
        if a.baseAddress == b.baseAddress { return true }
        let words = count & ~7
        var place = 0
        while place < words {
          let x = a.loadUnaligned(fromByteOffset: place, as: UInt64.self)
          if x != b.loadUnaligned(fromByteOffset: place, as: UInt64.self) { return false }
          place += 8
        }
        while place < count {
          if a[place] != b[place] { return false }
          place += 1
        }
        return true
      }
    }
  }
}
