import Foundation

@testable import kvctl

/// A file with given bytes.
struct TemporaryFile {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("kvctl-\(UUID().uuidString)").path

  init(_ bytes: [UInt8]) throws { try Files.write(bytes, path: path) }

  func remove() { try? FileManager.default.removeItem(atPath: path) }

  var bytes: [UInt8] { (FileManager.default.contents(atPath: path)).map { [UInt8]($0) } ?? [] }
}
