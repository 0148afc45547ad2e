private import CRocksDB
import KVCore

/// An error of RocksDB. Its C interface has texts only; this is the one place that reads them.
struct RocksDBError: Error, Equatable {
  enum Kind: Equatable {
    /// The answer is not in memory, and the read was told not to look further.
    case notInMemory
    case diskFull
    case corruption
    case inUse
    case notPermitted
    case notADirectory
    case ioError
    case other
  }

  var kind: Kind
  var text: String

  init(text: String) {
    self.text = text
    kind = RocksDBError.classify(text)
  }

  /// Takes over an error string of the C interface; nil when there is none.
  init?(taking pointer: UnsafeMutablePointer<CChar>?) {
    guard let pointer else { return nil }
    defer { rocksdb_free(pointer) }
    self.init(text: String(cString: pointer))
  }

  /// | text | kind |
  /// |---|---|
  /// | `Result incomplete…` | not in memory |
  /// | `…No space left on device…`, `…Disk quota exceeded…`, `…max allowed space…` | disk full |
  /// | `Corruption: …`, `Invalid argument: …compression type…` | corruption |
  /// | `…lock…: Resource temporarily unavailable`, `…lock hold by current process…` | in use |
  /// | `…Permission denied`, `…Read-only file system`, `…Operation not permitted` | not permitted |
  /// | `…Not a directory`, `…exists but is not a directory` | not a directory |
  /// | `IO error: …` | IO error |
  static func classify(_ text: String) -> Kind {
    if text.starts(with: "Result incomplete") { return .notInMemory }
    if contains(text, "No space left") || contains(text, "Disk quota exceeded") || contains(text, "max allowed space") {
      return .diskFull
    }
    if text.starts(with: "Corruption") { return .corruption }
    if contains(text, "lock hold by current process") { return .inUse }
    if contains(text, "lock file"), contains(text, "temporarily unavailable") { return .inUse }
    if contains(text, "Permission denied") || contains(text, "Read-only file system")
      || contains(text, "Operation not permitted")
    {
      return .notPermitted
    }
    if contains(text, "ot a directory") { return .notADirectory }
    return text.starts(with: "IO error") ? .ioError : .other
  }

  /// The file that the text names below `directory`, or the directory.
  func path(in directory: String) -> String {
    let bytes = Array(text.utf8)
    let prefix = Array(directory.utf8) + [UInt8(ascii: "/")]
    guard bytes.count > prefix.count else { return directory }
    for start in 0...(bytes.count - prefix.count) where bytes[start...].starts(with: prefix) {
      let name = bytes[(start + prefix.count)...].prefix { $0 > 0x20 && $0 != UInt8(ascii: ":") }
      return directory + "/" + String(decoding: name, as: UTF8.self)
    }
    return directory
  }

  /// The fault of a disk whose write failed with this error.
  func fault(in directory: String) -> StorageFault {
    let faultKind: StorageFault.Kind =
      switch kind {
      case .diskFull: .diskFull
      case .corruption: .corruption
      case .ioError, .notPermitted: .ioError
      case .notInMemory, .inUse, .notADirectory, .other: .other
      }
    return StorageFault(faultKind, path: path(in: directory), detail: text)
  }

  private static func contains(_ text: String, _ part: String) -> Bool {
    let (text, part) = (Array(text.utf8), Array(part.utf8))
    guard text.count >= part.count else { return false }
    return (0...(text.count - part.count)).contains { text[$0...].starts(with: part) }
  }
}
