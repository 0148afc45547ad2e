import FakeNodes
import Foundation
import KVModel
import Testing

@testable import kvctl

/// The document of every verb, `--json`: which members, in which order, of which kinds. A script reads them; who changes
/// one changes `schema`.
@Suite struct `Documents of every verb` {
  @Test(arguments: Documents.Scene.allCases) func `a verb has its document`(scene: Documents.Scene) async throws {
    let cluster = try await scene.cluster()
    let file = try TemporaryFile(Array("k\tv\n".utf8))
    let kvctl = KvctlInside(endpoints: cluster.endpoints)
    for call in Documents.calls(scene) {
      let words = call.words.map { $0 == "{file}" ? file.path : $0 }
      let ended = await kvctl(words + ["--json"])
      #expect(Shape.of(ended.report.data) == call.shape, "\(scene): kvctl \(words.joined(separator: " "))")
      try Self.checkEnvelope(ended, isFormed: scene != .unformed)
    }
    file.remove()
    await cluster.stop()
  }

  private static func checkEnvelope(_ ended: KvctlInside.Ended, isFormed: Bool) throws {
    // As another program reads it.
    let document = try #require(
      try JSONSerialization.jsonObject(with: Data(ended.document.pretty.utf8)) as? [String: Any])
    #expect(Set(document.keys) == ["schema", "cluster", "layout", "data", "errors"])
    #expect(document["schema"] as? String == "kvctl/1")
    #expect(document["cluster"] as? String == (isFormed ? "000000000000feed" : nil))
    #expect(document["layout"] as? Int == (isFormed ? 1 : nil))
    let errors = try #require(document["errors"] as? [[String: Any]])
    #expect(errors.count == ended.report.failures.count)
    #expect(errors.allSatisfy { Set($0.keys) == ["code", "message", "node"] })
  }

  /// Verbs without a document in the tables of `Documents`.
  static func gaps(_ tree: CommandTree) -> [String] {
    let told = Documents.Scene.allCases.flatMap(Documents.calls).map { $0.words.joined(separator: " ") + " " }
    // Its output is the entries themselves, in formats of their own; `--json` is refused: `Exit codes of every verb`.
    let withoutDocument: Set = ["export"]
    return tree.verbs.map(\.name).filter { name in
      !withoutDocument.contains(name) && !told.contains { $0.hasPrefix(name + " ") }
    }
  }

  @Test func `every verb stands in the table, and one that does not is told`() throws {
    var tree = try CommandTree.read()
    #expect(Self.gaps(tree) == [])
    tree.verbs.append(.init(name: "hotkeys", flags: [], discussion: ""))
    #expect(Self.gaps(tree) == ["hotkeys"])
  }

  @Test func `a member that comes, goes, moves or changes its kind is another shape`() {
    let json = JSON.object([("a", .integer(1)), ("b", .array([.object([("c", .null)])]))])
    #expect(Shape.of(json) == "{a: integer, b: [{c: null}]}")
    for other in [
      JSON.object([("a", .integer(1))]), .object([("b", .array([.object([("c", .null)])])), ("a", .integer(1))]),
      .object([("a", .text("1")), ("b", .array([.object([("c", .null)])]))]),
      .object([("a", .integer(1)), ("b", .null)]),
    ] { #expect(Shape.of(other) != Shape.of(json)) }
  }
}

/// A document's members and kinds, without its values: `{key: text, versions: [{written_at_ms: integer}]}`.
enum Shape {
  static func of(_ json: JSON) -> String {
    switch json {
    case .null: "null"
    case .bool: "bool"
    case .integer: "integer"
    case .fraction: "fraction"
    case .text: "text"
    case .array(let items):
      // Once where all rows are alike; rows that differ one after the other.
      "[" + items.map(of).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }.joined(separator: " | ")
        + "]"
    case .object(let members): "{" + members.map { "\($0.0): \(of($0.1))" }.joined(separator: ", ") + "}"
    }
  }
}
