import Foundation
import Testing

@testable import kvctl

/// Every flag of every verb is used by the test that `FlagTable` names, and the table says no more than that.
@Suite struct `The manual` {
  struct Source: Equatable {
    var name: String
    /// From `@Test` to the closing brace.
    var text: String
  }

  /// The tests of this target, as they stand in their files.
  static func tests() throws -> [Source] {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)?.allObjects as? [URL] ?? []
    return try files.filter { $0.pathExtension == "swift" }.flatMap { file in
      sources(in: try String(contentsOf: file, encoding: .utf8))
    }
  }

  /// Members of a suite are indented by two: the formatter sees to that.
  static func sources(in text: String) -> [Source] {
    text.split(separator: "\n  @Test").dropFirst().compactMap { part in
      let name = part.split(separator: "`", maxSplits: 2).dropFirst().first.map(String.init)
      let body = part.range(of: "\n  }\n").map { part[..<$0.lowerBound] } ?? part
      return name.map { Source(name: $0, text: String(body)) }
    }
  }

  /// What is missing, and what is too much, in words.
  static func gaps(_ tree: CommandTree, _ rows: [FlagTable.Row], _ tests: [Source]) -> [String] {
    var wanted = Dictionary(uniqueKeysWithValues: tree.verbs.map { ($0.name, Set($0.flags)) })
    wanted["any"] = tree.common.subtracting(["-h"])
    var gaps: [String] = []
    for row in rows {
      for flag in row.flags where wanted[row.verb]?.remove(flag) == nil {
        gaps.append("the table has \(row.verb) \(flag), which there is not, or twice")
      }
      guard let test = tests.first(where: { $0.name == row.test }) else {
        gaps.append("there is no test \(row.test)")
        continue
      }
      gaps += row.flags.filter { !uses(test, row.verb, $0) }.map { "\(row.test): it does not use \(row.verb) \($0)" }
    }
    for (verb, flags) in wanted.sorted(by: { $0.key < $1.key }) {
      gaps += flags.sorted().map { "no test is named for \(verb) \($0)" }
    }
    return gaps
  }

  private static func uses(_ test: Source, _ verb: String, _ flag: String) -> Bool {
    let words = verb.split(separator: " ").map { "\"\($0)\"" }.joined(separator: ", ")
    let isVerbThere = verb == "any" || test.text.contains(words)
    // A flag of all stands in a line for a shell, too.
    return isVerbThere && test.text.contains(verb == "any" ? flag : "\"\(flag)\"")
  }

  @Test func `every flag of every verb is used by the test that is named for it`() throws {
    let tree = try CommandTree.read()
    #expect(tree.verbs.count >= 20)
    #expect(Self.gaps(tree, FlagTable.rows, try Self.tests()) == [])
  }

  @Test func `every verb has help with an example`() async throws {
    let tree = try CommandTree.read()
    #expect(tree.groups.count >= 7)
    for verb in tree.groups + tree.verbs {
      #expect(verb.discussion.contains("Example: kvctl \(verb.name)"), "\(verb.name)")
    }
    let help = try await KvctlProcess(endpoints: [])("repair", "verify", "--help")
    #expect(help.status == 0 && help.text.contains("Example: ") && help.text.contains("--partition <number>"))
  }

  @Test func `a flag without a test, a test that does not use it, and one that is gone are told`() throws {
    let tests = try Self.tests()
    var tree = try CommandTree.read()
    tree.verbs.append(.init(name: "node drain", flags: ["--force"], discussion: ""))
    #expect(Self.gaps(tree, FlagTable.rows, tests) == ["no test is named for node drain --force"])
    tree.verbs.removeLast()
    var rows = FlagTable.rows
    let hex = try #require(rows.firstIndex { $0.verb == "get" && $0.flags == ["--hex"] })
    rows[hex].test = "a time to live ends with the key"
    #expect(Self.gaps(tree, rows, tests) == ["a time to live ends with the key: it does not use get --hex"])
    rows[hex].test = "no such test"
    #expect(Self.gaps(tree, rows, tests) == ["there is no test no such test"])
    rows[hex] = .init(verb: "get", flags: ["--page"], test: FlagTable.rows[hex].test)
    #expect(Self.gaps(tree, rows, tests).contains("the table has get --page, which there is not, or twice"))
  }
}
