import KVModel
import KVServer
import KVStorage
import Logging

/// Everything that `kvnode` is told: the node's part, and what the process keeps to itself.
struct Configuration: Sendable {
  var node = NodeConfiguration(
    name: "", dataDirectory: "/var/lib/ringkv",
    clientListen: Address(host: "127.0.0.1", port: 7420), peerListen: Address(host: "127.0.0.1", port: 7421),
    adminListen: Address(host: "127.0.0.1", port: 7422)
  )
  var log = LogSettings()
}

struct LogSettings: Equatable, Sendable {
  enum Format: String, Sendable, CaseIterable {
    case text
    case json
  }

  var level: Logger.Level = .info
  var format: Format = .text
}
