import Testing

@testable import kvnode

@Suite struct ContradictionTests {
  @Test func `R or W above N is told at the value that was set last`() {
    let text = "cluster:\n  read_quorum: 3\n  write_quorum: 3\n  replication: 2\n"
    #expect(load(text).places == ["kvnode.yaml:4: cluster.replication", "kvnode.yaml:4: cluster.replication"])
    #expect(
      load("cluster:\n  read_quorum: 4\n").faults == [
        "kvnode.yaml:2: cluster.read_quorum: cluster.read_quorum 4 is above cluster.replication 3: it could never be met; "
          + "set the quorum to 2, or replication to at least 4"
      ])
  }

  @Test func `R + W not above N is a warning`() throws {
    let loaded = try load("cluster:\n  read_quorum: 1\n").get()
    #expect(loaded.warnings.map(\.path) == ["cluster.read_quorum"])
    #expect(try load().get().warnings.isEmpty)
  }

  @Test func `two listeners on one port are told, also through 0.0.0.0, and not on two addresses`() {
    #expect(load("listen:\n  admin: 127.0.0.1:7420\n").places == ["kvnode.yaml:2: listen.admin"])
    let wide = "listen:\n  client: 0.0.0.0:7421\nadvertise:\n  client: 10.0.0.1:7421\n"
    #expect(load(wide).places == ["kvnode.yaml:2: listen.client"])
    #expect(load("listen:\n  admin: 127.0.0.2:7420\n").faults == [])
    #expect(load(flags: [("--peer-listen", "127.0.0.1:7420")]).places == ["--peer-listen: listen.peer"])
  }

  @Test func `a node that listens everywhere must say where it is`() {
    #expect(load(environment: ["KVNODE_PEER_LISTEN": "[::]:7421"]).places == ["KVNODE_PEER_LISTEN: listen.peer"])
    #expect(load("listen:\n  peer: 0.0.0.0:7421\nadvertise:\n  peer: db1.example:7421\n").faults == [])
  }

  @Test func `a part above its whole is told`() {
    let text = "limits:\n  connections: 100\n  bytes_in_flight_total: 4MiB\nstorage:\n  unsynced_limit: 2MiB\n"
    #expect(
      load(text).places == [
        "kvnode.yaml:2: limits.connections", "kvnode.yaml:3: limits.bytes_in_flight_total",
        "kvnode.yaml:5: storage.unsynced_limit",
      ])
  }

  @Test func `a data directory is made, but not the one above it`() {
    #expect(load(flags: [("--data", "/missing/n1")]).places == ["--data: node.data"])
    let onlyLast = HostFacts(hostName: "h") { $0 == "/data/n1" ? .missing : .directory }
    #expect(load(flags: [("--data", "/data/n1")], on: onlyLast).faults == [])
    #expect(
      load(flags: [("--data", "n1")], on: HostFacts(hostName: "h") { $0 == "." ? .directory : .missing }).faults == [])
    let file = HostFacts(hostName: "h") { $0 == "/data/n1" ? .other : .directory }
    #expect(load(flags: [("--data", "/data/n1")], on: file).places == ["--data: node.data"])
  }

  @Test func `nothing is concluded from a value that could not be read`() {
    #expect(load("cluster:\n  replication: x\n  read_quorum: 7\n").places == ["kvnode.yaml:2: cluster.replication"])
  }

  @Test func `a host name that is no node name must be replaced by one`() {
    let host = HostFacts(hostName: "") { _ in .directory }
    #expect(load(on: host).places == ["default: node.name"])
    #expect(load(flags: [("--name", "n1")], on: host).faults == [])
  }
}
