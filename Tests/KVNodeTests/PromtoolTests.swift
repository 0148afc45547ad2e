import Glibc
import KVServer
import Testing

/// Prometheus' own checker has nothing to say about what is exported. `Scripts/setup.sh test` installs it.
@Suite(.enabled(if: Promtool.isThere, "promtool is not installed")) struct PromtoolTests {
  @Test(arguments: [1, 3]) func `promtool finds nothing in what is exported`(shards: Int) throws {
    let text = PrometheusText.text(of: NodeMetrics.sample(shards: shards).families)
    let checked = try #require(Promtool.check(text))
    #expect(checked.status == 0)
    #expect(checked.output == "")
  }

  @Test func `promtool does find what is wrong`() throws {
    let checked = try #require(Promtool.check("# TYPE a_count counter\na_count 1\n"))
    #expect(checked.status != 0)
    #expect(checked.output.contains("_total"))
  }
}

enum Promtool {
  static var isThere: Bool { run("command -v promtool >/dev/null")?.status == 0 }

  static func check(_ text: String) -> (status: Int32, output: String)? {
    var path = Array("/tmp/ringkv-promtool.XXXXXX".utf8CString)
    let file = mkstemp(&path)
    guard file >= 0 else { return nil }
    let name = String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(name) }
    let bytes = Array(text.utf8)
    let written = write(file, bytes, bytes.count)
    close(file)
    return written == bytes.count ? run("promtool check metrics <\(name) 2>&1") : nil
  }

  static func run(_ command: String) -> (status: Int32, output: String)? {
    guard let pipe = popen(command, "r") else { return nil }
    var output: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4_096)
    while case let count = fread(&chunk, 1, chunk.count, pipe), count > 0 { output += chunk[..<count] }
    let status = pclose(pipe)
    return (status, String(decoding: output, as: UTF8.self))
  }
}
