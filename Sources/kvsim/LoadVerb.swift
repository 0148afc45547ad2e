import ArgumentParser
import Foundation
import KVClient
import KVModel
import KVSimulator
import Logging

/// A load on a cluster of real nodes that writes down what its clients saw.
struct LoadVerb: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "load", abstract: "Puts a load on a real cluster and writes its history, for 'kvsim check'.",
    discussion: """
      Half of the clients go to the owners of their keys, as the client library does; of the other half each has one
      node coordinate all of its operations. The keys are new ones. SIGTERM or Ctrl-C ends the load early, in good order.

      Exit codes: 0 done, 1 error, 2 usage, 3 the final reads could not be had.

      Example: kvsim load --endpoints 127.0.0.1:7420,127.0.0.1:7430 --history /tmp/history.jsonl --seconds 60
      """)

  @Option(help: "Nodes of the cluster: host:port,host:port,…") var endpoints: String
  @Option(help: "Where the history goes.") var history: String
  @Option(help: "How long.") var seconds = 30
  @Option(help: "Clients; each has one operation under way at a time.") var clients = 24
  @Option(help: "Keys in use at a time; every 20 s new ones have taken their place.") var keys = 40
  @Option(help: "What the operations are drawn from.") var seed: UInt64 = 1
  @Option(help: "Operations a second, at most, of all clients together; 0: no limit.") var rate = 1_500
  @Option(help: "In the end every key is read at 'all', tried again for so many seconds; 0: not at all.")
  var finalSeconds = 60
  @Option(help: "The final reads wait while this file is there: its maker may want to see all heal by itself.")
  var hold: String?
  @Flag(help: "No write carries the context of a receipt, only those of gets.") var noReceipts = false
  @Flag(help: "A summary in JSON on stdout.") var json = false

  func validate() throws {
    func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws {
      guard range.contains(value) else {
        throw ValidationError("--\(name) \(value): from \(range.lowerBound) to \(range.upperBound)")
      }
    }
    try check("seconds", seconds, 1...86_400)
    try check("clients", clients, 1...4_096)
    try check("keys", keys, 1...100_000)
    try check("rate", rate, 0...1_000_000)
    try check("final-seconds", finalSeconds, 0...3_600)
    guard endpoints.split(separator: ",").allSatisfy({ Address(String($0)) != nil }), !endpoints.isEmpty else {
      throw ValidationError("--endpoints \(endpoints): host:port,host:port,…")
    }
  }

  func run() async throws {
    do {
      let summary = try await LoadRun.perform(self)
      if json { print(summary.json) } else { for line in summary.lines { print(line) } }
      if !summary.isComplete { throw ExitCode(3) }
    } catch let failure as LoadFailure {
      FileHandle.standardError.write(Data("kvsim load: \(failure)\n".utf8))
      throw ExitCode(1)
    }
  }
}

extension LoadPlan {
  init(_ verb: LoadVerb, _ settings: ClusterSettings) {
    seed = verb.seed
    endpoints = verb.endpoints.split(separator: ",").map(String.init)
    clients = verb.clients
    seconds = verb.seconds
    finalSeconds = verb.finalSeconds
    hold = verb.hold
    pause = verb.rate == 0 ? .zero : .seconds(1) * verb.clients / verb.rate
    // What another load wrote would be nobody's write in this history.
    let run = UInt32.random(in: 0...UInt32.max)
    mix = LoadMix(keysInUse: verb.keys)
    keys = (0..<mix.keys(seconds: verb.seconds)).map { "load-\(String(run, radix: 36))-\($0)" }
    usesReceipts = !verb.noReceipts
    self.settings = settings
  }
}
