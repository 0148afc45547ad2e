import Foundation
import KVClient
import KVClientTesting
import Testing

/// The code in the client's documentation is compiled.
@Suite struct Documentation {
  private static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  private static func text(_ path: String) throws -> String {
    try String(contentsOf: repository.appending(path: path), encoding: .utf8)
  }

  private static func files(_ directory: String, _ suffix: String) throws -> [String] {
    let found = try FileManager.default.subpathsOfDirectory(atPath: repository.appending(path: directory).path)
    return found.filter { $0.hasSuffix(suffix) }.sorted().map { "\(directory)/\($0)" }
  }

  /// Lines without their indentation and `static`, which a snippet has and an article has not; empty ones left out.
  private static func bare(_ lines: some Sequence<Substring>) -> [String] {
    lines.map { $0.trimmingCharacters(in: .whitespaces).replacing("static func", with: "func") }.filter { !$0.isEmpty }
  }

  /// The blocks of Swift in an article, or in the documentation comments of a source file.
  static func blocks(_ text: String) -> [[String]] {
    var blocks: [[String]] = []
    var block: [Substring]?
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      var line = line.drop { $0 == " " }
      if line.hasPrefix("///") { line = line.dropFirst(3).drop { $0 == " " } }
      switch (block, line) {
      case (nil, "```swift"): block = []
      case (nil, _): break
      case (let lines?, "```"):
        blocks.append(bare(lines))
        block = nil
      case (_?, _): block?.append(line)
      }
    }
    return blocks
  }

  static func stands(_ block: [String], in lines: [String]) -> Bool {
    guard let first = block.first else { return false }
    return lines.indices.contains { start in
      lines[start] == first && lines[start...].prefix(block.count).elementsEqual(block)
    }
  }

  @Test func `every block of Swift in the articles and comments is among the compiled snippets`() throws {
    let snippets = Self.bare(try Self.text("Tests/KVClientTests/Documentation/Snippets.swift").split(separator: "\n"))
    let articles = try Self.files("Sources/KVClient/KVClient.docc", ".md")
    let sources = try ["KVClient", "KVClientCodable", "KVClientTesting"].flatMap {
      try Self.files("Sources/\($0)", ".swift")
    }
    var count = 0
    for path in articles + sources + ["README.md"] {
      for block in Self.blocks(try Self.text(path)) {
        count += 1
        let isCompiled = Self.stands(block, in: snippets)
        #expect(isCompiled, "\(path): \(block.joined(separator: "\n"))")
      }
    }
    #expect(articles.count == 5 && count >= 15, "\(articles.count) articles, \(count) blocks")
  }

  @Test func `the check tells a block that is compiled from one that is not`() {
    let blocks = Self.blocks("a\n  ```swift\n  let x = 1\n\n    x()\n  ```\n/// ```swift\n/// let y = 2\n/// ```\nb")
    #expect(blocks == [["let x = 1", "x()"], ["let y = 2"]])
    #expect(Self.stands(["b", "c"], in: ["a", "b", "c"]))
    #expect(!Self.stands(["b", "d"], in: ["a", "b", "c"]))
    #expect(!Self.stands(["c", "d"], in: ["a", "b", "c"]))
    #expect(!Self.stands([], in: ["a"]))
  }

  @Test func `what needs no cluster runs`() async throws {
    let store = InMemoryKVStore()
    try await Snippets.sortKeys(store)
    await Snippets.many(store)
    #expect(try await Snippets.codable(store)?.name == "Ada")
    #expect(try await Snippets.inMemory() == nil)
    #expect(try await Snippets.levels(store)?.value == Array("10".utf8))
    try await Snippets.siblings(store)
    try await Snippets.contexts(store)
    try await Snippets.updates(store)
    try await Snippets.union(store)
    try await Snippets.deletes(store)
    await Snippets.outcomes(store)
    try await Snippets.patiently(store)
    try await Snippets.greet("Ada", in: store)
    #expect(try await store.get("greeting")?.value == Array("Hello, Ada!".utf8))
  }
}
