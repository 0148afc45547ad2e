import Glibc

/// A system call that failed, and on what.
struct FileError: Error, Equatable {
  var path: String
  var call: String
  var code: Int32

  var text: String { "\(call): \(String(cString: strerror(code)))" }
}

/// The system calls on files that the node's own state needs; each goes through `call`, which knows EINTR.
enum FileSystem {
  static func makeDirectory(_ path: String) throws(FileError) {
    do throws(FileError) {
      try call("mkdir", path) { mkdir(path, 0o700) }
    } catch  where error.code == EEXIST {
      return
    } catch  where error.code == ENOENT {
      guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { throw error }
      try makeDirectory(String(path[..<slash]))
      try call("mkdir", path) { mkdir(path, 0o700) }
    }
  }

  /// Refuses what is no directory that this user may read and write.
  static func checkDirectory(_ path: String) throws(FileError) {
    let descriptor = try open(path, O_RDONLY | O_DIRECTORY)
    close(descriptor)
    try call("access", path) { access(path, R_OK | W_OK | X_OK) }
  }

  /// Whether files in a directory can be written past the page cache.
  static func canBypassPageCache(in directory: String) -> Bool {
    let path = directory + "/direct-io-probe"
    guard let descriptor = try? open(path, O_WRONLY | O_CREAT | __O_DIRECT) else { return false }
    close(descriptor)
    unlink(path)
    return true
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws(FileError) -> Int32 {
    try call("open", path) { Glibc.open(path, flags | O_CLOEXEC, mode) }
  }

  static func read(_ path: String, bytesMax: Int) throws(FileError) -> [UInt8] {
    let descriptor = try open(path, O_RDONLY)
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while bytes.count <= bytesMax {
      let count = try call("read", path) { Glibc.read(descriptor, &chunk, chunk.count) }
      if count == 0 { return bytes }
      bytes.append(contentsOf: chunk[..<count])
    }
    throw FileError(path: path, call: "read", code: EFBIG)
  }

  static func write(_ bytes: [UInt8], to descriptor: Int32, path: String) throws(FileError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = try call("write", path) { rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) } }
      rest = rest.dropFirst(count)
    }
  }

  /// Replaces a file so that a crash at any moment leaves the old or the new one, whole.
  static func replace(_ name: String, in directory: String, with bytes: [UInt8]) throws(FileError) {
    let (path, temporary) = (directory + "/" + name, directory + "/" + name + ".new")
    try writeSynced(bytes, to: temporary)
    try call("rename", path) { rename(temporary, path) }
    try syncDirectory(directory)
  }

  /// Removes a file, if it is there; a crash does not bring it back.
  static func remove(_ name: String, in directory: String) throws(FileError) {
    let path = directory + "/" + name
    do throws(FileError) { try call("unlink", path) { unlink(path) } } catch  where error.code == ENOENT {}
    try syncDirectory(directory)
  }

  private static func writeSynced(_ bytes: [UInt8], to path: String) throws(FileError) {
    let descriptor = try open(path, O_WRONLY | O_CREAT | O_TRUNC)
    defer { close(descriptor) }
    try write(bytes, to: descriptor, path: path)
    try call("fdatasync", path) { fdatasync(descriptor) }
  }

  static func syncDirectory(_ path: String) throws(FileError) {
    let descriptor = try open(path, O_RDONLY | O_DIRECTORY)
    defer { close(descriptor) }
    try call("fsync", path) { fsync(descriptor) }
  }

  /// Repeats a call that a signal interrupted; throws its error otherwise.
  @discardableResult
  static func call<T: SignedInteger>(_ name: String, _ path: String, _ body: () -> T) throws(FileError) -> T {
    while true {
      let result = body()
      if result >= 0 { return result }
      if errno != EINTR { throw FileError(path: path, call: name, code: errno) }
    }
  }
}

/// Room on the disk of a directory.
public struct DiskUsage: Equatable, Sendable {
  public var totalBytes: UInt64
  /// For this user: what the system keeps for root is not counted.
  public var availableBytes: UInt64

  public var usedBytes: UInt64 { totalBytes - min(availableBytes, totalBytes) }

  public init(of directory: String) throws(NodeStoreError) {
    var status = statvfs()
    do { try FileSystem.call("statvfs", directory) { statvfs(directory, &status) } } catch {
      throw NodeStoreError(error)
    }
    totalBytes = UInt64(status.f_blocks) * UInt64(status.f_frsize)
    availableBytes = UInt64(status.f_bavail) * UInt64(status.f_frsize)
  }
}
