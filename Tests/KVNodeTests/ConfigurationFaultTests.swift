import Testing

@testable import kvnode

/// Issue 2, "Bad input": a configuration with five faults.
@Suite struct ConfigurationFaultTests {
  @Test func `five faults are told at once, each with its line and a remedy`() {
    let text = """
      cluster:
        partitions: 1000
      node:
        name: n1
        shards: many
      limits:
        conections: 100
        hello_timeout: 5
      storage:
        block_cache: 64MB
      """
    #expect(
      load(text).faults == [
        "kvnode.yaml:2: cluster.partitions: 1000 is not a power of two, 16 to 65536; the nearest is 1024",
        "kvnode.yaml:5: node.shards: `many` is no whole number; write 1 to 256, without a unit",
        "kvnode.yaml:7: limits.conections: no such key; did you mean `limits.connections`?",
        "kvnode.yaml:8: limits.hello_timeout: 5 has no unit; write 5ms or 5s or 5m or 5h",
        "kvnode.yaml:10: storage.block_cache: `MB` is no unit here; did you mean 64MiB? write a whole number and a unit: "
          + "1B, 1KiB, 1MiB, 1GiB, 1TiB",
      ])
  }

  @Test func `faults of all layers are told together, in the order in which the layers apply`() {
    let found = load(
      "node:\n  shards: 0\n", environment: ["KVNODE_WEIGHT": "0", "KVNODE_SHARD": "2", "HOME": "/root"],
      flags: [("--name", ""), ("--durability", "fsync")])
    #expect(
      found.faults == [
        "kvnode.yaml:2: node.shards: 0 is out of range; write 1 to 256",
        "KVNODE_SHARD: no such variable; did you mean `KVNODE_SHARDS`?",
        "KVNODE_WEIGHT: node.weight: 0.0 is out of range; write 0.01 to 100.0",
        "--name: node.name: it is empty; leave it out, or give 1 to 64 letters, digits, `.`, `_`, `-`, the first a letter "
          + "or a digit",
        "--durability: durability: `fsync` is none of its words; did you mean `sync`? write one of: sync, os",
      ])
  }

  @Test(arguments: [
    ("shards: 2", "did you mean `node.shards`?"), ("storage:\n  durability: os", "did you mean `durability`?"),
    ("limit:\n  connections: 5", "did you mean `limits`?"), ("node:\n  weigth: 1.0", "did you mean `node.weight`?"),
    ("lisen.client: 127.0.0.1:1", "did you mean `listen.client`?"), ("xyzzy: 1", "remove it"),
  ])
  func `an unknown key is answered with what was meant`(text: String, remedy: String) {
    let faults = load(text).faults
    #expect(faults.count == 1 && faults.allSatisfy { $0.hasSuffix("no such key; \(remedy)") }, "\(faults)")
  }

  @Test func `a key that is given twice or three times is told with its first line, beside other faults`() {
    let text = "node:\n  zone: a\n  zone: b\n  \"zone\": c\n  shards: x\nlog:\n  level: info\nlog:\n  level: debug\n"
    let faults = load(text).faults
    #expect(
      faults.map { String($0.prefix { $0 != ";" }) } == [
        "kvnode.yaml:3: node.zone: it is given twice, first in line 2",
        "kvnode.yaml:4: node.zone: it is given twice, first in line 2",
        "kvnode.yaml:5: node.shards: `x` is no whole number",
        "kvnode.yaml:8: log: it is given twice, first in line 6",
        "kvnode.yaml:9: log.level: it is given twice, first in line 7",
      ])
  }

  @Test(arguments: [
    ("- a\n- b", "kvnode.yaml:1: -"), ("just words", "kvnode.yaml:1: -"), ("node: 5", "kvnode.yaml:1: node"),
    ("node:\n  name: [a, b]", "kvnode.yaml:2: node.name"), ("node:\n  zone:", "kvnode.yaml:2: node.zone"),
    ("node:\n  zone: {a: b}", "kvnode.yaml:2: node.zone"), ("node:\n zone: a\n  name: b", "kvnode.yaml:3: -"),
    ("node: [", "kvnode.yaml:2: -"), ("a: 1\n---\nb: 2", "kvnode.yaml:2: -"), ("? [a, b]\n: c", "kvnode.yaml:1: -"),
    ("node: *nobody", "kvnode.yaml:1: -"), ("\u{E000}: 1", "kvnode.yaml:1: "),
  ])
  func `a file of the wrong form is one fault with its line`(text: String, place: String) {
    let places = load(text).places
    #expect(places == [place])
  }

  @Test func `a file that is far too large is not read`() {
    #expect(load(String(repeating: "#", count: 2 << 20)).places == ["kvnode.yaml: -"])
  }

  @Test(arguments: [
    "cluster.replication": "8", "cluster.virtual_nodes": "0", "cluster.partitions": "131072", "cluster.name": "\"\"",
    "node.weight": "-1", "node.data": "\"\"", "node.shards": "257", "node.name": "a b", "listen.client": "127.0.0.1",
    "listen.peer": "localhost:7421", "listen.admin": "127.0.0.1:0", "advertise.client": "0.0.0.0:7420",
    "durability": "yes", "limits.hello_timeout": "0s", "limits.drain_timeout": "5s", "limits.connections": "1e4",
    "limits.bytes_in_flight_total": "99999999999999999999GiB", "storage.write_buffer": "9999999999TiB",
    "storage.max_open_files": "0", "storage.rate_limit": "10", "storage.bloom_bits": "10.5", "log.level": "verbose",
  ])
  func `a value out of its bounds or of its shape is one fault that names its key`(path: String, value: String) {
    let words = path.split(separator: ".")
    let text = words.count == 1 ? "\(path): \(value)" : "\(words[0]):\n  \(words[1]): \(value)"
    #expect(load(text).places == ["kvnode.yaml:\(words.count): \(path)"])
  }
}
