import Foundation
import KVModel

/// Files and pipes, with errors that name them.
enum Files {
  static func open(_ path: String) throws(CommandFailure) -> Int32 {
    let descriptor = Foundation.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("cannot open", path) }
    return descriptor
  }

  /// Bytes of a regular file; 0 for anything else.
  static func size(_ descriptor: Int32) -> UInt64 {
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return 0 }
    return UInt64(max(0, status.st_size))
  }

  /// Up to `bytesMax` bytes; empty at the end.
  static func readBlock(_ descriptor: Int32, bytesMax: Int) throws(CommandFailure) -> [UInt8] {
    var code: Int32 = 0
    let block = [UInt8](unsafeUninitializedCapacity: bytesMax) { buffer, count in
      var got = 0
      repeat { got = read(descriptor, buffer.baseAddress, bytesMax) } while got < 0 && errno == EINTR
      if got < 0 { code = errno }
      count = max(0, got)
    }
    guard code == 0 else { throw CommandFailure(.error, "io", "cannot read: \(String(cString: strerror(code)))") }
    return block
  }

  /// A value from a file or from standard input (`-`). Reads no more of it than shows that it is too large.
  static func value(_ path: String) throws(CommandFailure) -> [UInt8] {
    let descriptor = try path == "-" ? STDIN_FILENO : open(path)
    defer { if path != "-" { close(descriptor) } }
    var value: [UInt8] = []
    while true {
      let block = try readBlock(descriptor, bytesMax: 256 << 10)
      if block.isEmpty { return value }
      value.append(contentsOf: block)
      guard value.count <= Limits.valueBytesMax else {
        throw CommandFailure(
          .usage, "value_too_large",
          "\(path == "-" ? "the value on standard input" : path) has more than \(Limits.valueBytesMax) bytes, the most "
            + "that a value may have; store it in parts")
      }
    }
  }

  /// Writes all of `bytes`.
  static func write(_ bytes: [UInt8], to descriptor: Int32, named name: String) throws(CommandFailure) {
    var offset = 0
    while offset < bytes.count {
      let wrote = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress! + offset, $0.count - offset) }
      if wrote < 0, errno == EINTR { continue }
      guard wrote > 0 else { throw failure("cannot write", name) }
      offset += wrote
    }
  }

  /// Makes or replaces a file.
  static func write(_ bytes: [UInt8], path: String) throws(CommandFailure) {
    let descriptor = Foundation.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw failure("cannot write", path) }
    defer { close(descriptor) }
    try write(bytes, to: descriptor, named: path)
  }

  private static func failure(_ verb: String, _ name: String) -> CommandFailure {
    CommandFailure(.error, "io", "\(verb) \(name): \(String(cString: strerror(errno)))")
  }
}
