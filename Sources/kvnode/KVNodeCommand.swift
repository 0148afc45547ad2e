import ArgumentParser
import KVServer

/// The command line. Values stay text here: the configuration reads them beside the file's and the environment's, so that
/// all faults are told at once.
struct KVNodeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kvnode",
    abstract: "One node of a RingKV cluster.",
    discussion: """
      Flags override the environment (KVNODE_NAME, KVNODE_CLIENT_LISTEN, …), which overrides the file.

      Example: kvnode --config /etc/ringkv/kvnode.yaml --name n1 --data /var/lib/ringkv

      Exit codes: 0 stopped in order · 1 could not start, or could not go on (the last line of the log says why) · \
      2 command line or configuration.
      """,
    version: "kvnode \(Release.version)")

  @Option(help: ArgumentHelp("The configuration; without it, the defaults.", valueName: "file"))
  var config: String?
  @Flag(help: "Check the configuration, print what would be in force, and leave.")
  var checkConfig = false
  @Option(help: ArgumentHelp("Directory of all that this node keeps.", valueName: "directory"))
  var data: String?
  @Option(help: "Unique in the cluster; the host's name unless given.")
  var name: String?
  @Option(help: "Failure domain: copies go to distinct zones first.")
  var zone: String?
  @Option(help: ArgumentHelp("The machine: two nodes of one label never hold copies of one key.", valueName: "label"))
  var hostLabel: String?
  @Option(help: "Share of the ring against other nodes, as 1.5.")
  var weight: String?
  @Option(help: ArgumentHelp("Where clients connect.", valueName: "address:port"))
  var clientListen: String?
  @Option(help: ArgumentHelp("Where the other nodes connect.", valueName: "address:port"))
  var peerListen: String?
  @Option(help: ArgumentHelp("HTTP: /healthz, /readyz, /metrics.", valueName: "address:port"))
  var adminListen: String?
  @Option(
    help: ArgumentHelp("Peer addresses of nodes that tell a new one of their cluster.", valueName: "host:port,…"))
  var seeds: String?
  @Option(help: ArgumentHelp("When a write counts as stored here.", valueName: "sync|os"))
  var durability: String?
  @Option(help: "Event loops with a database each; fixed when the directory is made.")
  var shards: String?
  @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error, critical.", valueName: "level"))
  var logLevel: String?
  @Option(help: ArgumentHelp("For people, or for collectors.", valueName: "text|json"))
  var logFormat: String?

  /// The settings among the flags that were given.
  var settings: [(flag: String, text: String)] {
    let all = [
      ("--data", data), ("--name", name), ("--zone", zone), ("--host-label", hostLabel), ("--weight", weight),
      ("--client-listen", clientListen), ("--peer-listen", peerListen), ("--admin-listen", adminListen),
      ("--seeds", seeds), ("--durability", durability), ("--shards", shards), ("--log-level", logLevel),
      ("--log-format", logFormat),
    ]
    return all.compactMap { flag, text in text.map { (flag: flag, text: $0) } }
  }
}
