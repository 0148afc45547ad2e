import ArgumentParser
import Testing

@testable import kvnode

/// Config/kvnode.yaml, the table of settings and what `--check-config` prints are one.
@Suite struct ShippedFileTests {
  @Test func `the shipped file names every key once, in the table's order, with its default`() throws {
    let text = try #require(packageFile("Config/kvnode.yaml"))
    let file = ConfigurationFile(name: "Config/kvnode.yaml", text: text)
    #expect(file.faults == [])
    #expect(file.entries.map(\.setting) == SettingTable.all.map(\.path))
    for entry in file.entries { #expect(entry.text == SettingTable.setting(entry.setting)?.standard, "\(entry)") }
    #expect(load(text).faults == [])
  }

  @Test func `every key of the shipped file has a comment`() throws {
    let text = try #require(packageFile("Config/kvnode.yaml"))
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    for entry in ConfigurationFile(name: "", text: text).entries {
      let isCommented = lines[entry.line - 1].contains("# ") || lines[entry.line - 2].hasPrefix("#")
      #expect(isCommented, "\(entry)")
    }
  }

  @Test func `every default is within its bounds, and every reason is there`() throws {
    for setting in SettingTable.all where setting.emptyMeans == nil {
      #expect(try setting.shape.parse(setting.standard) == setting.read(Configuration()), "\(setting.path)")
      #expect(!setting.reason.isEmpty)
    }
  }

  @Test func `every setting flag of the command line is in the table and the other way round`() throws {
    let arguments = SettingTable.all.compactMap(\.flag).flatMap { [$0, "x"] }
    let command = try KVNodeCommand.parse(arguments)
    #expect(Set(command.settings.map(\.flag)) == Set(SettingTable.all.compactMap(\.flag)))
  }

  @Test func `a variable is called like its flag, or like its key`() {
    #expect(SettingTable.setting("listen.client")?.variable == "KVNODE_CLIENT_LISTEN")
    #expect(SettingTable.setting("limits.connections")?.variable == "KVNODE_LIMITS_CONNECTIONS")
    #expect(Set(SettingTable.all.map(\.variable)).count == SettingTable.all.count)
  }
}

@Suite struct ConfigurationReportTests {
  @Test func `the report says what is in force and where each value comes from`() throws {
    let loaded = try load(
      "node:\n  zone: a\n", environment: ["KVNODE_LIMITS_HELLO_TIMEOUT": "1500ms"],
      flags: [("--name", "n1"), ("--data", "/data/a b#c")]
    ).get()
    let lines = ConfigurationReport.text(loaded).split(separator: "\n").map { $0.replacing(#/ +# /#, with: " # ") }
    let expected = """
      cluster:
        name: ringkv # default
        replication: 3 # default
        read_quorum: 2 # default
        write_quorum: 2 # default
        partitions: 1024 # default
        virtual_nodes: 64 # default
        merkle_leaves: 64 # default
      node:
        name: n1 # --name
        zone: a # kvnode.yaml:2
        host: n1 # default: the node's name
        weight: 1.0 # default
        data: "/data/a b#c" # --data
        shards: 1 # default
      listen:
        client: 127.0.0.1:7420 # default
        peer: 127.0.0.1:7421 # default
        admin: 127.0.0.1:7422 # default
      advertise:
        client: 127.0.0.1:7420 # default: listen.client
        peer: 127.0.0.1:7421 # default: listen.peer
      seeds: "" # default: none
      durability: sync # default
      limits:
        connections: 10000 # default
        connections_before_hello: 256 # default
        connections_per_address: 0 # default
        peer_connections: 4096 # default
        connections_closing: 256 # default
        hello_timeout: 1500ms # KVNODE_LIMITS_HELLO_TIMEOUT
      """
    #expect(lines.prefix(31).map { String($0) } == expected.split(separator: "\n").map { String($0) })
  }

  @Test func `the report reads back as the same configuration`() throws {
    let flags = [
      ("--name", "n1"), ("--data", "/data/\"a\" b\\c: #d"), ("--weight", "0.05"), ("--peer-listen", "[::1]:9"),
    ].map { (flag: $0.0, text: $0.1) }
    let first = try load("cluster:\n  name: null.x\n", flags: flags).get()
    let second = try load(ConfigurationReport.text(first)).get()
    for setting in SettingTable.all where setting.emptyMeans == nil || setting.path == "node.name" {
      #expect(setting.render(first.configuration) == setting.render(second.configuration))
    }
  }
}
