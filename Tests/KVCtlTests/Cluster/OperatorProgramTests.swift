import FakeNodes
import Foundation
import KVModel
import Testing

@testable import kvctl

/// What operators run, as processes against fake nodes.
@Suite struct `Verbs of operators` {
  @Test(arguments: ["status", "top"]) func `what is watched is shown anew until it is interrupted`(verb: String)
    async throws
  {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    let ended = try await KvctlProcess(endpoints: cluster.endpoints)([verb, "--watch", "100ms", "-o", "jsonl"]) {
      node.requests.count { $0.request == .describe } >= 8
    }
    #expect(ended.status == 130)
    let lines = ended.text.split(separator: "\n")
    #expect(lines.count >= 3)
    #expect(lines.allSatisfy { $0.hasPrefix("{") && $0.contains("n1") })
    await cluster.stop()
  }

  @Test func `watching is for what changes, and not faster than it can`() async throws {
    let kvctl = KvctlProcess(endpoints: ["127.0.0.1:1"])
    #expect(try await kvctl("get", "k", "--watch", "2s").status == 2)
    #expect(try await kvctl("status", "--watch", "10ms").status == 2)
  }

  @Test func `the doctor finds a clock that is off and a node that is gone`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let well = try await kvctl("doctor")
    #expect(well.status == 0, "\(well.text)")
    await cluster.nodes[2].stop()
    let ill = try await kvctl("doctor")
    #expect(ill.status == 9)
    #expect(ill.text.contains("TROUBLE  n3: nobody reaches it"))
    #expect(ill.text.contains("mend it: ssh n3 systemctl restart kvnode"))
    await cluster.stop()
    #expect(try await kvctl("doctor").status == 3)
    #expect(try await kvctl("config", "show").status == 3)
  }

  @Test(arguments: ["bash", "zsh", "fish"]) func `shells get their completions`(shell: String) async throws {
    let ended = try await KvctlProcess(endpoints: [])("--generate-completion-script", shell)
    #expect(ended.status == 0)
    for word in ["bench", "doctor", "--workload", "--endpoints"] {
      #expect(ended.text.contains(word.drop { $0 == "-" }))
    }
  }

  @Test func `bash loads its completions, and completes verbs, flags and the values of one`() async throws {
    let script = try await KvctlProcess(endpoints: [])("--generate-completion-script", "bash")
    let asks = [["re"], ["repair", "ver"], ["bench", "--worklo"], ["get", "--show"]]
    let answers = try await bash(
      script.text + """

        complete -p kvctl >/dev/null || exit 1
        complete_words() {
          COMP_WORDS=(kvctl "$@") COMP_CWORD=$# COMP_LINE="kvctl $*" COMPREPLY=()
          COMP_POINT=${#COMP_LINE}
          "$(complete -p kvctl | sed -E 's/.*-F ([^ ]+).*/\\1/')" kvctl "${*: -1}" "${COMP_WORDS[$# - 1]}"
          echo "${COMPREPLY[*]}"
        }

        """ + asks.map { "complete_words \($0.joined(separator: " "))\n" }.joined())
    #expect(answers == "repair\nverify\n--workload\n--show-context\n")
  }

  private func bash(_ script: String) async throws -> String {
    let (file, output) = (try TemporaryFile(Array(script.utf8)), try TemporaryFile([]))
    defer { for file in [file, output] { file.remove() } }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = ["--norc", file.path]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle(forWritingAtPath: output.path)
    process.standardError = FileHandle.nullDevice
    try await process.runToEnd()
    return String(decoding: output.bytes, as: UTF8.self)
  }
}
