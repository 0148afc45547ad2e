/// What a node's `/metrics` says.
struct Scrape {
  let text: String
  private let values: [String: Double]

  init(_ text: String) {
    self.text = text
    var values: [String: Double] = [:]
    for line in text.split(separator: "\n") where !line.hasPrefix("#") {
      guard let space = line.lastIndex(of: " ") else { continue }
      values[String(line[..<space])] = Double(line[line.index(after: space)...])
    }
    self.values = values
  }

  /// A series by its name and labels, as they are written: `kvnode_connections{kind="client"}`.
  subscript(series: String) -> Double? { values[series] }

  var seriesCount: Int { values.count }

  /// The names of families: without labels, and without what a histogram adds.
  var names: Set<String> {
    Set(
      text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.compactMap {
        $0.split(separator: " ").dropFirst(2).first.map(String.init)
      })
  }
}

extension NodeProcess {
  func scrape() async throws -> Scrape {
    let answer = try await admin("/metrics")
    guard answer.status == "200", let head = answer.body.firstRange(of: "\r\n\r\n") else {
      throw HarnessError("n\(number) /metrics: \(answer.status)")
    }
    return Scrape(String(answer.body[head.upperBound...]))
  }

  /// A series of this node, once it is there and fits.
  @discardableResult
  func metric(
    _ series: String, within limit: Duration = .seconds(10), until fits: (Double) -> Bool
  ) async throws -> Double {
    var last: Double?
    do {
      return try await eventually(within: limit, "\(series) fits", every: .milliseconds(100)) {
        last = try await scrape()[series]
        return last.flatMap { fits($0) ? $0 : nil }
      }
    } catch { throw HarnessError("\(error); it was last \(last.map { "\($0)" } ?? "absent")") }
  }
}
