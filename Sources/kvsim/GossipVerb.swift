import ArgumentParser
import Foundation
import KVSimulator

/// Measures failure detection.
struct GossipVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gossip", abstract: "Measures failure detection: false deaths, time to know a death, messages.",
    discussion: """
      Simulates the membership of a cluster and nothing else. A killed process falls silent, as when its machine loses
      power; with --resets its peers see their connections end.

      Examples:
        kvsim gossip --nodes 100 --hours 5 --loss 1       does anybody take the living for dead?
        kvsim gossip --nodes 100 --kills 50 --loss 1      how soon does everybody know of a death?

      Exit codes: 0, 1 a living member was taken for dead, 2 usage, 3 a death was not found out in time.
      """)

  @Option(help: "Members.") var nodes = 5
  @Option(help: "Simulated hours.") var hours = 1.0
  @Option(help: "Messages that are lost, per cent.") var loss = 0.0
  @Option(help: "Mean delay of a message, microseconds.") var delay: UInt64 = 500
  @Option(help: "Processes to kill, one after the other; each comes back once everybody knew.") var kills = 0
  @Flag(help: "Peers of a killed process see their connections end.") var resets = false
  @Option(help: "What everything is drawn from.") var seed: UInt64 = 1
  @Flag(help: "Print JSON.") var json = false

  func validate() throws {
    guard (2...1_024).contains(nodes) else { throw ValidationError("--nodes \(nodes): from 2 to 1024") }
    guard hours > 0, hours <= 100_000 else { throw ValidationError("--hours \(hours): above 0, at most 100000") }
    guard (0...50).contains(loss) else { throw ValidationError("--loss \(loss): from 0 to 50") }
    guard (0...100_000).contains(kills) else { throw ValidationError("--kills \(kills): from 0 to 100000") }
  }

  func run() throws {
    var options = GossipSimulation.Options()
    options.nodes = nodes
    options.seconds = kills > 0 ? UInt64(kills) * 60 + 60 : UInt64(hours * 3_600)
    options.loss = UInt64(loss * 100)
    options.delay = delay * 1_000
    options.kills = kills
    options.resets = resets
    options.seed = seed
    let simulation = GossipSimulation(options)
    simulation.run()
    print(json ? try document(simulation.report) : text(simulation.report))
    if simulation.report.falseDeaths > 0 { throw ExitCode(1) }
    if simulation.report.detections.count < kills { throw ExitCode(3) }
  }

  private func text(_ report: GossipSimulation.Report) -> String {
    let seconds = Double(report.simulatedNanoseconds) / 1e9
    let share = Double(nodes) * seconds
    var lines = [
      "\(nodes) members, \(fixed(seconds / 3_600, 2)) simulated hours, \(loss) % of messages lost, \(report.events) events",
      "living members taken for dead: \(report.falseDeaths); suspected for a while: \(report.falseSuspicions)",
      "messages: \(fixed(Double(report.messages) / share, 2)) a node and second, at most \(report.busiestSecond) in one; "
        + "\(fixed(Double(report.bytes) / max(1, Double(report.messages)), 0)) bytes each",
    ]
    if kills > 0 {
      lines.append("killed: \(report.detections.count) of \(kills) known by all after \(spread(report.detections))")
      lines.append("started again: known by all after \(spread(report.returns))")
    }
    return lines.joined(separator: "\n")
  }

  private func spread(_ spans: [UInt64]) -> String {
    let sorted = spans.sorted().map { Double($0) / 1e9 }
    guard let last = sorted.last else { return "-" }
    func at(_ share: Double) -> String { fixed(sorted[Int(Double(sorted.count - 1) * share)], 2) }
    return "\(at(0.5)) s median, \(at(0.99)) s p99, \(fixed(last, 2)) s most"
  }

  private func fixed(_ number: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", number) }

  private func document(_ report: GossipSimulation.Report) throws -> String {
    let document = GossipDocument(
      nodes: nodes, simulatedNs: report.simulatedNanoseconds, falseDeaths: report.falseDeaths,
      falseSuspicions: report.falseSuspicions, messages: report.messages, bytes: report.bytes,
      detectionsNs: report.detections, returnsNs: report.returns)
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys]
    return String(decoding: try encoder.encode(document), as: UTF8.self)
  }
}

private struct GossipDocument: Encodable {
  var schema = "kvsim-gossip/1"
  var nodes: Int
  var simulatedNs: UInt64
  var falseDeaths: Int
  var falseSuspicions: Int
  var messages: UInt64
  var bytes: UInt64
  var detectionsNs: [UInt64]
  var returnsNs: [UInt64]
}
