import Testing

@testable import kvctl

struct LeadingOptionsTests {
  @Test func `global options in front of the verb count as if they stood behind it`() {
    #expect(LeadingOptions.moved(["--endpoints", "a:1", "status"]) == ["status", "--endpoints", "a:1"])
    #expect(LeadingOptions.moved(["--json", "-o=jsonl", "get", "k"]) == ["get", "k", "--json", "-o=jsonl"])
    #expect(LeadingOptions.moved(["--yes", "put", "k", "--", "-v"]) == ["put", "k", "--yes", "--", "-v"])
    #expect(LeadingOptions.moved(["status", "--json"]) == ["status", "--json"])
    #expect(LeadingOptions.moved(["--endpoints"]) == ["--endpoints"])
  }
}
