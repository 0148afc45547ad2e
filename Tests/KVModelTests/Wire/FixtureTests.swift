import Foundation
import Testing

@testable import KVModel

/// Style 43: old formats are fixtures from the first format on. `Fixtures/revision1/*.hex` are bytes as revision 1 wrote
/// them; a release that reads them differently, or writes other bytes for the same value, breaks directories and peers.
///
/// They are written once and never changed. A new format gets new files: add it to `FixtureValues`, then
/// `RINGKV_WRITE_FIXTURES=1 swift test --filter FixtureTests` writes the files that are missing (never one that is there).
@Suite struct FixtureTests {
  private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures/revision1")

  private func fixture(_ name: String, _ current: [UInt8]) throws -> [UInt8] {
    let file = FixtureTests.folder.appending(path: name + ".hex")
    let isMissing = !FileManager.default.fileExists(atPath: file.path)
    if isMissing, ProcessInfo.processInfo.environment["RINGKV_WRITE_FIXTURES"] == "1" {
      try FileManager.default.createDirectory(at: FixtureTests.folder, withIntermediateDirectories: true)
      try Data(Hex.lines(current).utf8).write(to: file)
    }
    return try #require(Hex.bytes(try String(contentsOf: file, encoding: .utf8)), "\(name).hex is not hexadecimal")
  }

  @Test(arguments: FrameType.allCases)
  func `a frame of revision 1 is read and written as it was`(_ type: FrameType) throws {
    let expected = try FixtureValues.frame(type)
    let frame = try fixture("frame-\(type)", expected)
    #expect(frame == expected)
    #expect(Frames.isIntact(frame))
    #expect(try Decoder.header.recode(frame) == frame)
    #expect(try Body(type, Array(frame[FrameHeader.bytes...])) == FixtureValues.body(type))
  }

  /// Added to revision 1 as a feature: who does not read it gets the receipt of the first release.
  @Test func `a receipt that tells what lay beside the write is read and written as it was`() throws {
    let response = ClientResponse.written(try FixtureValues.receipt(siblings: .present, wasFound: true))
    let frame = try fixture("frame-written-told", FixtureValues.frame(.written, .response(response)))
    #expect(frame == FixtureValues.frame(.written, .response(response)))
    #expect(try Body(.written, Array(frame[FrameHeader.bytes...])) == .response(response))
    let first = try FixtureValues.body(.written)
    #expect(Body.response(response.told(to: [])) == first)
    #expect(response.told(to: .read) == response)
    #expect(Body.peer(.forwardedReply(response).told(to: [])) == .peer(.forwardedReply(response.told(to: []))))
  }

  @Test func `a record of revision 1 is read and written as it was`() throws {
    let bytes = try fixture("record", FixtureValues.encoded.bytes)
    let record = try EncodedRecord(unverified: bytes).decoded()
    #expect(record == FixtureValues.record)
    #expect(EncodedRecord(record).bytes == bytes)
  }

  @Test func `a context token of revision 1 is read and written as it was`() throws {
    let bytes = try fixture("context-token", FixtureValues.token().bytes)
    let token = try ContextToken(bytes: bytes)
    #expect(try token == FixtureValues.token())
    #expect(token.bytes == bytes)
    #expect(token.belongs(to: try FixtureValues.key(), of: FixtureValues.cluster))
  }

  @Test func `a layout of revision 1 is read and written as it was`() throws {
    var expected: [UInt8] = []
    FixtureValues.layout.encode(into: &expected)
    let bytes = try fixture("layout", expected)
    let layout = try bytes.decode { (body) throws(DecodeError) in
      var reader = ByteReader(body)
      let layout = try Layout(from: &reader)
      try reader.end()
      return layout
    }
    #expect(layout == FixtureValues.layout)
    #expect(bytes == expected)
  }

  /// HAZARDS.md rows 14, 52: mixed releases compare digests, and stored keys are where an older release put them.
  @Test func `key, token and digest of revision 1 are what they were`() throws {
    let key = try FixtureValues.key()
    var bytes = key.bytes
    FixtureValues.record.digest(of: key, seed: FixtureValues.cluster.value).encode(into: &bytes)
    #expect(try fixture("key-and-digest", bytes) == bytes)
  }
}

enum Hex {
  /// Thirty-two bytes a line.
  static func lines(_ bytes: [UInt8]) -> String {
    stride(from: 0, to: bytes.count, by: 32).map { start in
      bytes[start..<min(start + 32, bytes.count)].map { byte in
        (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }.joined() + "\n"
    }.joined()
  }

  static func bytes(_ text: String) -> [UInt8]? {
    let digits = Array(text.utf8.filter { $0 != 0x0a })
    guard digits.count % 2 == 0 else { return nil }
    var bytes: [UInt8] = []
    for place in stride(from: 0, to: digits.count, by: 2) {
      guard let byte = UInt8(String(decoding: digits[place..<(place + 2)], as: UTF8.self), radix: 16) else {
        return nil
      }
      bytes.append(byte)
    }
    return bytes
  }
}
