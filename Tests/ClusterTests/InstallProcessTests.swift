import Glibc
import Testing

/// `Scripts/install.sh` into a directory, as it is carried to a host.
extension ProcessTests {
  @Suite struct InstallProcessTests {
    private static func install(_ arguments: String...) async throws -> (status: Child.End, words: String) {
      try await run(Programs.repository + "/Scripts/install.sh", arguments + ["--bin", Programs.directory])
    }

    private static func run(_ path: String, _ arguments: [String]) async throws -> (status: Child.End, words: String) {
      let (output, null) = (try Pipe(), open("/dev/null", O_RDONLY | O_CLOEXEC))
      let child = try Child.start(
        path, arguments, environment: Programs.environment(adding: [:]),
        streams: .init(input: null, output: output.writing, errors: output.writing))
      for descriptor in [output.writing, null] { close(descriptor) }
      let words = try await onThread { try Pipe.drain(output.reading) }
      return (try await child.ended(within: .seconds(60), path), String(decoding: words, as: UTF8.self))
    }

    private static func inRoot(_ body: (String) async throws -> Void) async throws {
      let root = "\(Guardian.shared.root)/install-\(UInt32.random(in: 0 ... .max))"
      try Files.makeDirectory(root)
      try await body(root)
      try await Files.run("/bin/rm", "-rf", root)
    }

    @Test func `it puts all in place, the second time nothing changes, and a configuration stays as it is`()
      async throws
    {
      try await Self.inRoot { root in
        let first = try await Self.install("--root", root)
        #expect(first.status == .exited(0), "\(first.words)")
        let configuration = root + "/etc/ringkv/kvnode.yaml"
        #expect(try Files.text(configuration) == Files.text(Programs.repository + "/Config/kvnode.yaml"))
        let again = try await Self.install("--root", root)
        #expect(again.status == .exited(0) && again.words == "nothing has changed\n", "\(again.words)")

        try Files.write(Array("node:\n  name: mine\n".utf8), to: configuration)
        try await Files.run("/bin/rm", root + "/etc/systemd/system/kvnode.service")
        let mended = try await Self.install("--root", root)
        #expect(mended.words.contains("install: /etc/systemd/system/kvnode.service\n"))
        #expect(try Files.text(configuration) == "node:\n  name: mine\n")

        // What was put there runs, through the link.
        let checked = try await Self.run(
          root + "/usr/local/bin/kvnode", ["--config", configuration, "--check-config", "--data", root + "/data"])
        #expect(checked.status == .exited(0) && checked.words.contains("name: mine"), "\(checked.words)")
      }
    }

    @Test func `the unit names the programs where they are`() async throws {
      try await Self.inRoot { root in
        #expect(try await Self.install("--root", root, "--prefix", "/opt/kv").status == .exited(0))
        let unit = try Files.text(root + "/etc/systemd/system/kvnode.service")
        #expect(unit.contains("ExecStart=/opt/kv/bin/kvnode --config /etc/ringkv/kvnode.yaml\n"))
        #expect(!unit.contains("/usr/local"))
        #expect(access(root + "/opt/kv/bin/kvnode", X_OK) == 0 && access(root + "/opt/kv/bin/kvctl", X_OK) == 0)
      }
    }

    @Test(.enabled(if: access("/usr/bin/systemd-analyze", X_OK) == 0))
    func `systemd finds nothing wrong with the unit, and little that it exposes`() async throws {
      try await Self.inRoot { root in
        #expect(try await Self.install("--root", root, "--prefix", "/opt/kv").status == .exited(0))
        // As it would be if the root were one.
        let unit = try Files.text(root + "/etc/systemd/system/kvnode.service")
        let path = root + "/kvnode.service"
        let parts = unit.split(separator: "/opt/kv", omittingEmptySubsequences: false)
        let moved = parts.joined(separator: root + "/opt/kv")
        try Files.write(Array(moved.utf8), to: path)
        let verified = try await Self.run("/usr/bin/systemd-analyze", ["verify", path])
        #expect(verified.status == .exited(0) && verified.words == "", "\(verified.words)")
        let exposed = try await Self.run(
          "/usr/bin/systemd-analyze", ["security", "--offline=true", "--threshold=15", path])
        #expect(exposed.status == .exited(0), "\(exposed.words.suffix(200))")
      }
    }

    @Test(arguments: [
      ["--root"], ["--prefix", "relative", "--root", "/tmp/x"], ["--nonsense"], ["--bin", "/missing"],
    ])
    func `a wrong command line ends with 2 and says how it is written`(arguments: [String]) async throws {
      let ended = try await Self.run(Programs.repository + "/Scripts/install.sh", arguments)
      #expect(ended.status == .exited(2) && ended.words.contains("usage: Scripts/install.sh"), "\(ended.words)")
    }

    @Test func `the time to stop covers the drain, and the descriptors cover the limits`() async throws {
      let unit = try Files.text(Programs.repository + "/Config/systemd/kvnode.service")
      func number(_ key: String) throws -> Int {
        let line = try #require(unit.split(separator: "\n").first { $0.hasPrefix(key + "=") })
        return try #require(Int(line.dropFirst(key.count + 1).prefix { $0.isNumber }))
      }
      #expect(try number("TimeoutStopSec") > 5, "kvnode leaves within 5 s")
      #expect(try number("LimitNOFILE") >= 10_000 + 4_096 + 64 + 1_024)
      #expect(try number("RestartPreventExitStatus") == 2)
    }
  }
}
