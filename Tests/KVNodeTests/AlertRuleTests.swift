import Foundation
import KVServer
import Testing

/// Config/prometheus: Prometheus' own checker and unit tests of rules pass, and say so when a rule is wrong.
@Suite(.enabled(if: Promtool.isThere, "promtool is not installed")) struct AlertRuleTests {
  private static let directory = "Config/prometheus"

  private static func text(_ name: String) throws -> String {
    try #require(packageFile("\(directory)/\(name)"))
  }

  /// The files in a directory of their own, with the rules changed; what promtool says of them.
  private static func promtool(_ arguments: String, rules change: (String) -> String = { $0 }) throws -> (Int32, String)
  {
    let directory = FileManager.default.temporaryDirectory.appending(path: "ringkv-rules-\(UUID())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    for name in ["alerts.yaml", "alerts_test.yaml", "prometheus.yaml"] {
      let text = try text(name)
      let written = name == "alerts.yaml" ? change(text) : text
      try Data(written.utf8).write(to: directory.appending(path: name))
    }
    let ended = try #require(Promtool.run("cd \(directory.path) && promtool \(arguments) 2>&1"))
    return (ended.status, ended.output)
  }

  @Test(arguments: ["check rules alerts.yaml", "check config prometheus.yaml", "test rules alerts_test.yaml"])
  func `promtool finds nothing`(arguments: String) throws {
    let (status, output) = try Self.promtool(arguments)
    #expect(status == 0, "\(output)")
  }

  @Test(arguments: [
    ("== 0\n        for: 20s", "== 0\n        for: 10m"), ("kvnode_ready == 0", "kvnode_ready == 1"),
    ("> 0.001", "> 0.01"), ("> 0.010", "> 0.100"), ("> 0.020", "> 0.200"), ("and kvnode_hints_waiting > 1000", ""),
    ("> 3600", "> 36000"), ("min by (job) (kvnode_layout_version)", "max by (job) (kvnode_layout_version)"),
    ("> 0.8", "> 0.9"), ("kvnode_disk_nearly_full == 1", "kvnode_disk_nearly_full == 2"), ("> 2\n", "> 3\n"),
    ("increase(kvnode_rebuild_files_dropped_total[1h]) > 0", "increase(kvnode_rebuild_files_dropped_total[1h]) > 2"),
    ("increase(kvnode_rebuild_records_total[15m]) == 0", "increase(kvnode_rebuild_records_total[15m]) >= 0"),
    ("kvnode_rebuild_keys > 0", "kvnode_rebuild_keys > 9"),
    ("kvnode_peers_up < kvnode_peers_known", "kvnode_peers_up > kvnode_peers_known"),
  ])
  func `the tests of the rules notice a rule that is wrong`(right: String, wrong: String) throws {
    #expect(try Self.text("alerts.yaml").contains(right), "no longer there")
    let (status, _) = try Self.promtool("test rules alerts_test.yaml") { $0.replacing(right, with: wrong) }
    #expect(status != 0, "\(wrong)")
  }

  @Test func `every alert is tested, and every metric that one asks for is exported`() throws {
    let (rules, tests) = (try Self.text("alerts.yaml"), try Self.text("alerts_test.yaml"))
    let alerts = rules.matches(of: /- alert: (\w+)/).map { String($0.1) }
    #expect(alerts.count == 15)
    for alert in alerts { #expect(tests.contains("alertname: \(alert)\n        exp_alerts:"), "\(alert)") }
    let exported = Set(NodeMetrics.sample(shards: 2).families.map(\.name))
    let expressions = rules.split(separator: "\n").filter { !$0.contains("description") && !$0.contains("#") }
    for name in expressions.flatMap({ $0.matches(of: /kvnode_\w+/) }).map({ String($0.0) }) {
      let family = name.hasSuffix("_bucket") ? String(name.dropLast(7)) : name
      #expect(exported.contains(family), "\(name)")
    }
  }
}
