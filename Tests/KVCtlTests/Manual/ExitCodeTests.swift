import FakeNodes
import Foundation
import KVModel
import Testing

@testable import kvctl

/// Every verb, brought to every exit code that it has. 130 is the program's own, whatever the verb: `ProgramTests`.
@Suite struct `Exit codes of every verb` {
  @Test(arguments: World.allCases) func `a verb ends with its code`(world: World) async throws {
    let cluster = try await world.cluster()
    let files = try Files()
    defer { files.remove() }
    let calls = world.calls
    // All at once: some wait for their timeouts.
    let ends = calls.map { call in Task { await files.run(call, cluster.endpoints) } }
    for (call, end) in zip(calls, ends) {
      #expect(await end.value == call.status, "in the world \(world): kvctl \(call.words.joined(separator: " "))")
    }
    await cluster.stop()
  }

  /// A verb that is not in a list above, or a code that the manual names and no call ends with.
  static func gaps(_ tree: CommandTree, _ calls: [Call]) -> [String] {
    var gaps: [String] = []
    for verb in tree.verbs {
      let ends = Set(calls.filter { $0.verb(of: tree) == verb.name }.map(\.status.rawValue))
      for code in exitCodes(in: verb.discussion).union([0, 2, 3]).subtracting(ends).sorted() {
        gaps.append("no call of kvctl \(verb.name) ends with \(code)")
      }
    }
    let all = Set(ShellStatus.allCases.map(\.rawValue))
    if exitCodes(in: tree.discussion) != all { gaps.append("kvctl --help names other codes than there are") }
    let seen = Set(calls.map(\.status.rawValue)).union([ShellStatus.interrupted.rawValue])
    return gaps + all.subtracting(seen).sorted().map { "no call ends with \($0)" }
  }

  @Test func `every verb is brought to every code that the manual names`() throws {
    let calls = World.allCases.flatMap(\.calls)
    #expect(Self.gaps(try .read(), calls) == [])
  }

  @Test func `a verb, a code of a verb and a code of all that no call shows are told`() throws {
    var tree = try CommandTree.read()
    tree.verbs.append(.init(name: "node drain", flags: [], discussion: "Exits with 10 when it would cost a quorum."))
    let calls = World.allCases.flatMap(\.calls).filter { $0.status != .conflict }
    #expect(
      Self.gaps(tree, calls)
        == [0, 2, 3, 10].map { "no call of kvctl node drain ends with \($0)" } + ["no call ends with 6"])
  }

  struct Call: Sendable {
    var words: [String]
    var status: ShellStatus

    func verb(of tree: CommandTree) -> String? {
      tree.verbs.map(\.name).first { words.joined(separator: " ").appending(" ").hasPrefix($0 + " ") }
    }
  }

  /// What calls name by `{file}`, `{broken}` and `{absent}`.
  struct Files {
    private let paths: [String: TemporaryFile]

    init() throws {
      paths = [
        "{file}": try TemporaryFile(Array("k\tv\n".utf8)), "{broken}": try TemporaryFile(Array("a\tb\tc\n".utf8)),
        "{absent}": try TemporaryFile(Array("absent\n".utf8)),
      ]
    }

    func remove() { for file in paths.values { file.remove() } }

    /// `export` writes its lines to stdout itself, and is a process for it.
    func run(_ call: Call, _ endpoints: [String]) async -> ShellStatus? {
      let words = call.words.map { paths[$0]?.path ?? ($0 == "''" ? "" : $0) }
      guard words.first == "export" else { return await KvctlInside(endpoints: endpoints)(words).status }
      return (try? await KvctlProcess(endpoints: endpoints)(words)).flatMap { ShellStatus(rawValue: $0.status) }
    }
  }
}
