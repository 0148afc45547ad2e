private import CRocksDB

// What RocksDB says of itself. Safe from any thread, as all of it.
extension Database {
  /// A number that RocksDB keeps, over all families or of one.
  func property(_ name: String, of family: Family? = nil) -> UInt64 {
    var value: UInt64 = 0
    if let family {
      _ = rocksdb_property_int_cf(handle, families[family.rawValue], name, &value)
    } else {
      _ = rocksdb_property_int(handle, name, &value)
    }
    return value
  }

  /// A property of which RocksDB has no number, only a text.
  func textProperty(_ name: String, of family: Family) -> String? {
    guard let text = rocksdb_property_value_cf(handle, families[family.rawValue], name) else { return nil }
    defer { rocksdb_free(text) }
    return String(cString: text)
  }

  /// Bytes in the block cache.
  var cacheUsage: Int { options.cacheUsage }

  /// Bytes of table files between each bound and the next, estimated from their indexes: some microseconds a range,
  /// whatever it holds. All zero when an index cannot be read.
  func approximateBytes(between bounds: [[UInt8]], of family: Family) -> [UInt64] {
    let count = max(0, bounds.count - 1)
    var sizes = [UInt64](repeating: 0, count: count)
    let lengths = bounds.map(\.count)
    var error: UnsafeMutablePointer<CChar>?
    // One block of memory with all bounds, since the C interface wants pointers that live as long as the call.
    bounds.flatMap { $0 }.withUnsafeBytes { block in
      var offset = 0
      let pointers: [UnsafePointer<CChar>?] = lengths.map { length in
        defer { offset += length }
        return UnsafeRawBufferPointer(rebasing: block[offset..<(offset + length)]).characters
      }
      rocksdb_approximate_sizes_cf(
        handle, families[family.rawValue], Int32(count), pointers, lengths, Array(pointers.dropFirst()),
        Array(lengths.dropFirst()), &sizes, &error)
    }
    return RocksDBError(taking: error) == nil ? sizes : Array(repeating: 0, count: count)
  }
}
