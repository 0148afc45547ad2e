/// The names of table files that are to be given up at the next open, beside the database that they belong to.
///
/// A compaction that meets a damaged block stops a database for good (RocksDB 7.8, `ErrorHandler::SetBGError`: corruption in
/// a compaction or flush is unrecoverable): until it is opened again it takes no write, so that nothing can be noted in it.
/// This file can be written then.
///
/// | line | |
/// |---|---|
/// | 1… | name of a table file, `000012.sst` |
enum DamagedTables {
  static let name = "damaged-tables"
  private static let bytesMax = 1 << 20

  /// The names, in the order in which they were noted; none when there is no file.
  static func noted(in directory: String) throws(FileError) -> [String] {
    let path = directory + "/" + name
    guard FileSystem.exists(path) else { return [] }
    let bytes = try FileSystem.read(path, bytesMax: bytesMax)
    return bytes.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Adds a name; it is synced when this returns.
  static func note(_ table: String, in directory: String) throws(FileError) {
    var names = try noted(in: directory)
    if names.contains(table) { return }
    names.append(table)
    try FileSystem.replace(name, in: directory, with: names.flatMap { Array("\($0)\n".utf8) })
  }

  /// The noted files are gone.
  static func forget(in directory: String) throws(FileError) {
    try FileSystem.remove(name, in: directory)
  }
}
