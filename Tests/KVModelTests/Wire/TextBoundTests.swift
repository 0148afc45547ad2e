import Testing

@testable import KVModel

/// What a sender writes, a receiver must be able to read: texts are cut where they are written, at a whole character.
@Suite struct TextBoundTests {
  @Test(arguments: ["x", "é", "√", "🐟"])
  func `a text that is too long is cut at its bound, never inside a character`(_ unit: String) throws {
    for lead in 0...4 {
      let text = String(repeating: "-", count: lead) + String(repeating: unit, count: 2_000)
      let refusal = Refusal(.malformedFrame, text)
      var bytes: [UInt8] = []
      refusal.encode(into: &bytes)
      let back = try bytes.decode(Refusal.init)
      #expect(text.hasPrefix(back.detail))
      #expect((1_021...1_024).contains(back.detail.utf8.count))

      let failure = ClientResponse.failed(Failure(.overloaded, detail: text))
      let response = try Body(.failed, Body.response(failure).bytes)
      guard case .response(.failed(let arrived)) = response else {
        Issue.record("\(response)")
        return
      }
      #expect(arrived.detail == back.detail)
    }
  }

  @Test func `a text that fits exactly is left whole`() throws {
    for text in [String(repeating: "x", count: 128), String(repeating: "é", count: 64), ""] {
      var bytes: [UInt8] = []
      Hello(client: text).encode(into: &bytes)
      #expect(try bytes.decode(Hello.init).agent == text)
    }
  }

  @Test func `an agent that is too long still gets through the handshake`() throws {
    let agent = String(repeating: "a", count: 1_000)
    var hello: [UInt8] = []
    Hello(client: agent).encode(into: &hello)
    #expect(try hello.decode(Hello.init).agent.utf8.count == 128)
  }

  @Test func `text that is not UTF-8 is refused`() {
    let bytes: [UInt8] = [Refusal.Reason.notMember.rawValue, 2, 0, 0xc3, 0x28]
    #expect(throws: DecodeError.notText) { try bytes.decode(Refusal.init) }
  }
}
