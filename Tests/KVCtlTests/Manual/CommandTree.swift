import ArgumentParser
import Foundation

@testable import kvctl

/// The verbs of kvctl and their flags, as the parser knows them.
struct CommandTree {
  struct VerbEntry: Equatable {
    /// `repair verify`
    var name: String
    /// Its own, without those that every verb has: `--node`, `-r`.
    var flags: [String]
    /// Of its help.
    var discussion: String
  }

  var verbs: [VerbEntry]
  /// Of those that have verbs below them, and of the program.
  var groups: [VerbEntry]
  /// Flags that every verb has, and those of the program.
  var common: Set<String>
  /// Of the program's help.
  var discussion: String { groups.first?.discussion ?? "" }

  static func read() throws -> CommandTree {
    let root = try JSONDecoder().decode(Dump.self, from: Data(Kvctl._dumpHelp().utf8)).command
    let common = Set(flags(of: try JSONDecoder().decode(Dump.self, from: Data(GlobalOptions._dumpHelp().utf8)).command))
      .union(flags(of: root))
    return CommandTree(
      verbs: leaves(of: root, []).map { VerbEntry($0, $1, without: common) },
      groups: groups(of: root, []).map { VerbEntry($0, $1, without: common) }, common: common)
  }

  fileprivate struct Dump: Decodable {
    struct Command: Decodable {
      var commandName: String
      var discussion: String?
      var subcommands: [Command]?
      var arguments: [Argument]?
    }
    struct Argument: Decodable {
      struct Name: Decodable {
        var kind: String
        var name: String
      }
      var names: [Name]?
    }
    var command: Command
  }

  private typealias Place = (path: [String], command: Dump.Command)

  private static func children(of command: Dump.Command) -> [Dump.Command] {
    command.subcommands?.filter { $0.commandName != "help" } ?? []
  }

  private static func leaves(of command: Dump.Command, _ path: [String]) -> [Place] {
    let children = children(of: command)
    return children.isEmpty ? [(path, command)] : children.flatMap { leaves(of: $0, path + [$0.commandName]) }
  }

  private static func groups(of command: Dump.Command, _ path: [String]) -> [Place] {
    let children = children(of: command)
    return children.isEmpty ? [] : [(path, command)] + children.flatMap { groups(of: $0, path + [$0.commandName]) }
  }

  fileprivate static func flags(of command: Dump.Command) -> [String] {
    (command.arguments ?? []).flatMap { $0.names ?? [] }.map { ($0.kind == "long" ? "--" : "-") + $0.name }
  }
}

extension CommandTree.VerbEntry {
  fileprivate init(_ path: [String], _ command: CommandTree.Dump.Command, without common: Set<String>) {
    let flags = CommandTree.flags(of: command).filter { !common.contains($0) }
    self.init(name: path.joined(separator: " "), flags: flags, discussion: command.discussion ?? "")
  }
}

/// What the manual says of exit codes: the numbers of every sentence about them.
func exitCodes(in text: String) -> Set<Int32> {
  let joined = text.split(whereSeparator: \.isNewline).joined(separator: " ")
  let sentences = joined.replacing(". ", with: "\n").split(separator: "\n")
  let about = sentences.filter { $0.localizedCaseInsensitiveContains("exit code") || $0.contains("xits with") }
  return Set(about.flatMap { $0.split { !$0.isNumber } }.compactMap { Int32($0) })
}
