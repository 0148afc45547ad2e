import Glibc
import Synchronization

@testable import KVStorage

/// A fresh directory, removed with this object.
final class TemporaryDirectory: Sendable {
  let path: String

  private static let counter = Atomic<Int>(0)

  init() {
    let number = TemporaryDirectory.counter.add(1, ordering: .relaxed).newValue
    path = "/tmp/ringkv-tests-\(getpid())-\(number)"
    try! FileSystem.makeDirectory(path)
  }

  deinit { TemporaryDirectory.remove(path) }

  /// Names in a directory, `.` and `..` left out, sorted.
  static func names(in path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(cString: $0.bindMemory(to: CChar.self).baseAddress!)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  static func remove(_ path: String) {
    for name in names(in: path) where unlink(path + "/" + name) != 0 { remove(path + "/" + name) }
    rmdir(path)
  }

  /// Copies the files of a directory as they are at one moment: what the disk holds when a process is killed. RocksDB
  /// goes on in the background; a copy during which files came or went is of no moment, and is made again.
  static func copy(_ source: String, to target: String) {
    try! FileSystem.makeDirectory(target)
    while true {
      let before = names(in: source).sorted()
      // The manifest first: the files that it names were whole by then.
      for name in before.reversed() where name != "LOCK" && name != "LOG" {
        guard let bytes = try? FileSystem.read(source + "/" + name, bytesMax: 1 << 30) else { continue }
        overwrite(target + "/" + name, bytes)
      }
      if names(in: source).sorted() == before { return }
      for name in names(in: target) { unlink(target + "/" + name) }
    }
  }

  static func overwrite(_ path: String, _ bytes: [UInt8]) {
    let descriptor = try! FileSystem.open(path, O_WRONLY | O_CREAT | O_TRUNC)
    defer { close(descriptor) }
    try! FileSystem.write(bytes, to: descriptor, path: path)
  }
}
