import Testing

@testable import KVModel

/// An identity and an address have one spelling; what looks almost like one is not one.
@Suite struct TextFormTests {
  @Test func `a node id reads what it prints`() {
    for value in [0, 1, 0xabc, .max, 1 << 63] as [UInt64] {
      let id = NodeID(value)
      #expect(id.description.utf8.count == 16)
      #expect(NodeID(id.description) == id)
    }
  }

  @Test(arguments: [
    "", "1", "+00000000000000f", "-000000000000000", "00000000000000FF", "000000000000000g", "00000000000000001",
  ])
  func `what no node id prints is none`(_ text: String) { #expect(NodeID(text) == nil) }

  @Test(arguments: ["a:1", "10.0.0.1:65535", "[::1]:7420", "node-1.example:7420"])
  func `an address reads what it prints`(_ text: String) { #expect(Address(text)?.description == text) }

  @Test(arguments: ["", "a", "a:", ":1", "a:0", "a:65536", "a:-1", "a:+1", "::1:80", "[]:80", "a: 1", "a:1 ", "a:٣"])
  func `what is no address is none`(_ text: String) { #expect(Address(text) == nil) }
}
