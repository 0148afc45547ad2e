import Foundation
import Testing

@testable import KVCore

/// Runs every file under Scenarios/: commands in, effects out.
struct ScenarioTests {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Scenarios")

  static let files: [String] = {
    let names = try? FileManager.default.subpathsOfDirectory(atPath: folder.path)
    return (names ?? []).filter { $0.hasSuffix(".txt") }.sorted()
  }()

  @Test(arguments: files)
  func `a scenario brings about what it says`(file: String) throws {
    let url = Self.folder.appending(path: file)
    let expected = try String(contentsOf: url, encoding: .utf8)
    let actual = try Scenario.replay(expected)
    if ProcessInfo.processInfo.environment["RINGKV_REWRITE"] != nil {
      try actual.write(to: url, atomically: true, encoding: .utf8)
    }
    let difference = actual.split(separator: "\n").difference(from: expected.split(separator: "\n"))
    #expect(difference.isEmpty, "\(file) went otherwise:\n\(actual)")
  }

  @Test func `there are scenarios`() {
    #expect(Self.files.count >= 20)
  }
}
