import KVModel
import KVServer
import KVStorage
import Logging
import Testing

@testable import kvnode

@Suite struct ConfigurationTests {
  @Test func `flags override the environment, which overrides the file, which overrides the defaults`() throws {
    let text = "node:\n  zone: file\n  host: file\n  name: file\n"
    let loaded = try load(
      text, environment: ["KVNODE_ZONE": "env", "KVNODE_NAME": "env"], flags: [("--name", "flag")]
    ).get()
    let node = loaded.configuration.node
    #expect([node.name, node.zone, node.host] == ["flag", "env", "file"])
    #expect(node.shards == 1)
    #expect(loaded.origin("node.name") == .flag("--name"))
    #expect(loaded.origin("node.zone") == .environment("KVNODE_ZONE"))
    #expect(loaded.origin("node.host") == .file("kvnode.yaml", line: 3))
    #expect(loaded.origin("node.shards") == .standard)
  }

  @Test func `every kind of value reaches its place`() throws {
    let text = """
      cluster: {partitions: 4096, merkle_leaves: 1, replication: 5, read_quorum: 3, write_quorum: 3}
      node: {weight: 2.25, data: /data/n1}
      listen: {client: "[::1]:1", peer: 10.0.0.1:2}
      advertise: {client: db1.example:9}
      durability: os
      limits: {hello_timeout: 1m, bytes_in_flight_total: 1GiB, drain_timeout: 0}
      storage: {bloom_bits: 12, max_open_files: 500, rate_limit: 0, compression: none, write_buffer: 33554432}
      log: {level: trace, format: json}
      """
    let configuration = try load(text).get().configuration
    let node = configuration.node
    #expect(node.cluster.partitionBits == 12 && node.cluster.leafBits == 0 && node.cluster.replication == 5)
    #expect(node.weight == 225 && node.dataDirectory == "/data/n1")
    #expect(node.clientListen == Address(host: "::1", port: 1) && node.peerListen == Address(host: "10.0.0.1", port: 2))
    #expect(node.clientAdvertise == Address(host: "db1.example", port: 9) && node.peerAdvertise == nil)
    #expect(node.storage.durability == .os && node.storage.compression == .none)
    #expect(node.limits.helloTimeoutMs == 60_000 && node.limits.bytesInFlight == 1 << 30 && node.limits.drainMs == 0)
    #expect(
      node.storage.filterBits == 12 && node.storage.openFilesMax == 500 && node.storage.writeBufferBytes == 32 << 20)
    #expect(node.storage.backgroundBytesPerSecond == 0)
    #expect(configuration.log == LogSettings(level: .trace, format: .json))
  }

  @Test func `an empty name in the file is the host's, and an empty file is all defaults`() throws {
    #expect(try load("node:\n  name: \"\"\n").get().configuration.node.name == "testhost")
    for text in ["", "# nothing\n", "node:\nlimits:\n", "{}"] { #expect(load(text).faults == []) }
  }

  @Test func `what Kubernetes adds to the environment is no fault`() {
    let added = ["KVNODE_PORT": "tcp://10.0.0.1:7420", "KVNODE_SERVICE_HOST": "10.0.0.1", "KVNODE_PORT_7420_TCP": "x"]
    #expect(load(environment: added).faults == [])
  }

  @Test(arguments: [
    ("500ms", 500), ("2s", 2_000), ("10m", 600_000), ("1h", 3_600_000), ("2 s", 2_000), ("0", 0),
  ])
  func `durations are read as people write them`(text: String, milliseconds: Int) throws {
    #expect(try Shape.milliseconds(0...Int.max).parse(text) == .number(milliseconds))
  }

  @Test(arguments: [
    ("512", 512), ("16KiB", 16_384), ("64MiB", 64 << 20), ("1GiB", 1 << 30), ("2TiB", 2 << 40), ("7B", 7),
  ])
  func `sizes are read as people write them`(text: String, bytes: Int) throws {
    #expect(try Shape.bytes(0...Int.max).parse(text) == .number(bytes))
  }

  @Test(arguments: [
    "", "s", "-1s", "1.5s", "1s2", "1 sec", "٣s", "1ss", "99999999999999999999s", "9223372036854775807h",
  ])
  func `what is no duration is refused without a trap`(text: String) {
    #expect(throws: Misfit.self) { try Shape.milliseconds(0...Int.max).parse(text) }
  }

  @Test(arguments: ["", "-0.5", "1.005", "1,5", "1e3", ".5", "5.", "nan", "99999999999999999999", "1.-5", "--1"])
  func `what is no weight is refused without a trap`(text: String) {
    #expect(throws: Misfit.self) { try Shape.hundredths(1...10_000).parse(text) }
  }

  @Test func `what is rendered reads back as the same value`() throws {
    for shape in [Shape.milliseconds(0...Int.max), .bytes(0...Int.max), .hundredths(0...Int.max), .whole(0...Int.max)] {
      for number in [0, 1, 5, 10, 99, 100, 101, 1_000, 1_024, 1_500, 60_000, 90_000, 1 << 20, (1 << 20) + 1, 3_600_000]
      {
        #expect(try shape.parse(shape.render(.number(number))) == .number(number))
      }
    }
  }
}

@Suite struct LikenessTests {
  @Test func `an edit is an insertion, a deletion, a substitution or a swap of neighbours`() {
    #expect(Likeness.edits(from: "", to: "abc") == 3)
    #expect(Likeness.edits(from: "weigth", to: "weight") == 1)
    #expect(Likeness.edits(from: "conections", to: "connections") == 1)
    #expect(Likeness.edits(from: "kitten", to: "sitting") == 3)
    #expect(Likeness.nearest(to: "xyzzy", among: ["name", "zone"]) == nil)
  }
}
