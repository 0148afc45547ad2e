import Foundation
import Glibc
import Testing

/// A real Prometheus scrapes a real cluster, with the alerts that are shipped. `Scripts/setup.sh test` installs it.
extension ProcessTests {
  @Suite(.enabled(if: access("/usr/bin/prometheus", X_OK) == 0, "Prometheus is not installed"))
  struct AlertProcessTests {
    @Test func `the alert fires when a node is killed, and is over when it is back`() async throws {
      try await Cluster.run { cluster in
        try await Prometheus.run(on: cluster) { prometheus in
          _ = try await eventually(within: .seconds(30), "all three are scraped", every: .milliseconds(300)) {
            try await prometheus.value("sum(up)") == 3 ? true : nil
          }
          #expect(try await cluster.kvctl("put", "key", "value").status == 0)
          _ = try await eventually(within: .seconds(10), "the put is counted", every: .milliseconds(300)) {
            try await prometheus.value(#"sum(kvnode_requests_total{kind="put",outcome="ok"})"#) == 1 ? true : nil
          }
          #expect(try await prometheus.firing().isEmpty)
          let victim = "127.0.0.1:\(cluster[2].adminPort)"
          try await cluster[2].kill()
          _ = try await eventually(within: .seconds(60), "the alert fires", every: .milliseconds(500)) {
            try await prometheus.firing().contains("RingKVNodeDown \(victim)") ? true : nil
          }
          try await cluster.restart([2])
          _ = try await eventually(within: .seconds(30), "the alert is over", every: .milliseconds(500)) {
            try await prometheus.firing().contains { $0.hasPrefix("RingKVNodeDown") } ? nil : true
          }
        }
      }
    }
  }
}

/// A Prometheus of this test, on loopback.
private final class Prometheus {
  private let port: UInt16
  private let child: Child

  private init(port: UInt16, child: Child) { (self.port, self.child) = (port, child) }

  static func run(
    on cluster: Cluster, isolation: isolated (any Swift.Actor)? = #isolation, _ body: (Prometheus) async throws -> Void
  ) async throws {
    let directory = cluster.root + "/prometheus"
    try Files.makeDirectory(directory)
    let targets = cluster.nodes.map { "\"127.0.0.1:\($0.adminPort)\"" }.joined(separator: ", ")
    let configuration = """
      global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
      rule_files: ["\(Programs.repository)/Config/prometheus/alerts.yaml"]
      scrape_configs:
        - job_name: ringkv
          static_configs: [{targets: [\(targets)]}]

      """
    try Files.write(Array(configuration.utf8), to: directory + "/prometheus.yaml")
    let port = try Ports.take(1)[0]
    let log = open(directory + "/log", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    let null = open("/dev/null", O_RDONLY | O_CLOEXEC)
    defer { for descriptor in [log, null] { close(descriptor) } }
    let child = try Child.start(
      "/usr/bin/prometheus",
      [
        "--config.file=\(directory)/prometheus.yaml", "--storage.tsdb.path=\(directory)/data",
        "--web.listen-address=127.0.0.1:\(port)", "--log.level=warn",
      ], environment: Programs.environment(adding: [:]), streams: .init(input: null, output: log, errors: log))
    try Guardian.shared.watch(child.pid)
    let result: Result<Void, any Error>
    do {
      try await body(Prometheus(port: port, child: child))
      result = .success(())
    } catch {
      let words = (try? Files.text(directory + "/log")) ?? ""
      result = .failure(HarnessError("\(error)\nPrometheus: \(words.suffix(2_000))"))
    }
    child.send(SIGKILL)
    _ = try await child.ended(within: .seconds(10), "Prometheus")
    try result.get()
  }

  /// An instant query's only value; nil when there is none, or Prometheus does not answer yet.
  func value(_ query: String) async throws -> Double? {
    struct Answer: Decodable {
      struct Body: Decodable { var result: [Sample] }
      struct Sample: Decodable { var value: [Field] }
      enum Field: Decodable {
        case time(Double)
        case value(String)
        init(from decoder: any Decoder) throws {
          let container = try decoder.singleValueContainer()
          if let time = try? container.decode(Double.self) {
            self = .time(time)
          } else {
            self = .value(try container.decode(String.self))
          }
        }
      }
      var data: Body
    }
    let encoded = query.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
    guard let answer = try await get("/api/v1/query?query=\(encoded)", Answer.self) else { return nil }
    guard case .value(let text)? = answer.data.result.first?.value.last else { return nil }
    return Double(text)
  }

  /// Alerts that fire: name and instance.
  func firing() async throws -> [String] {
    struct Answer: Decodable {
      struct Body: Decodable { var alerts: [Alert] }
      struct Alert: Decodable {
        var labels: [String: String]
        var state: String
      }
      var data: Body
    }
    let alerts = try await get("/api/v1/alerts", Answer.self)?.data.alerts ?? []
    return alerts.filter { $0.state == "firing" }.map {
      "\($0.labels["alertname"] ?? "") \($0.labels["instance"] ?? "")"
    }
  }

  private func get<Answer: Decodable>(_ path: String, _ type: Answer.Type) async throws -> Answer? {
    guard child.poll() == nil else { throw HarnessError("Prometheus has ended") }
    guard let connection = try? RawConnection.open(port) else { return nil }
    // 1.0, so that the body comes in one piece.
    try connection.send(Array("GET \(path) HTTP/1.0\r\nHost: localhost\r\n\r\n".utf8))
    guard let bytes = try await connection.readToEnd(within: .seconds(10)) else { return nil }
    let text = String(decoding: bytes, as: UTF8.self)
    guard text.split(separator: " ").dropFirst().first == "200", let head = text.firstRange(of: "\r\n\r\n") else {
      return nil
    }
    return try JSONDecoder().decode(type, from: Data(text[head.upperBound...].utf8))
  }
}
