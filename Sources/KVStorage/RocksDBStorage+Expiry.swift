import KVCore
import KVModel

extension Database {
  /// The expiry entries that are due, in order: they lie by their time.
  func listExpired(upTo wall: WallTime, after: ExpiryEntry?, limit: Int) -> Load.Outcome {
    var start: [UInt8] = []
    if let after {
      ExpirySpace.encode(after.at, after.key, into: &start)
      start.append(0)
    }
    var page = ExpiredPage(entries: [], isLast: true)
    let error = scan(.expiry, from: start) { bytes, _ in
      guard let entry = try? ExpirySpace.decode(bytes), entry.at <= wall else { return false }
      guard page.entries.count < limit else {
        page.isLast = false
        return false
      }
      if let key = entry.key.withUnsafeBytes(Key.init(stored:)) {
        page.entries.append(ExpiryEntry(at: entry.at, key: key))
      }
      return true
    }
    if let error { return .failed(error) }
    return .expired(page)
  }
}
