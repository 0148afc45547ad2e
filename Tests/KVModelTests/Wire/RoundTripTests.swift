import Testing

@testable import KVModel

#if DEBUG
  private let rounds = 200
#else
  private let rounds = 5_000
#endif

/// DESIGN.md §9; every message that the network carries (the simulator sends all of them through these codecs too).
@Suite struct RoundTripTests {
  @Test(arguments: FrameType.allCases)
  func `a body of every frame type comes back as it went out, and has one encoding`(_ type: FrameType) throws {
    var random = PRNG(seed: UInt64(type.rawValue))
    for _ in 0..<rounds {
      let body = random.body(type)
      let bytes = body.bytes
      let back = try Body(type, bytes)
      #expect(back == body)
      #expect(back.bytes == bytes)
      #expect((body.namedType ?? type) == type)
    }
  }

  @Test func `a peer of an older release is not asked about roots together: all of them count as different`() {
    let roots = [3, 7].map { RootDigest(partition: PartitionID($0), digest: .zero) }
    let question = PeerMessage.tree(.roots(roots, question: 5))
    #expect(question.answer(inPlaceOf: []) == .tree(.differing([0, 1], question: 5)))
    #expect(question.answer(inPlaceOf: .receiptsTellMore) != nil && question.answer(inPlaceOf: .read) == nil)
    #expect(PeerMessage.ping(clockMs: 1).answer(inPlaceOf: []) == nil)
  }

  @Test(arguments: FrameType.allCases)
  func `a decoder refuses the frame types that it does not own`(_ type: FrameType) {
    let unowned = DecodeError.unknownTag(type.rawValue)
    var owners = 0
    do { _ = try [UInt8]().decode { (body) throws(DecodeError) in try ClientRequest(type, body) } } catch {
      owners -= error == unowned ? 1 : 0
    }
    do { _ = try [UInt8]().decode { (body) throws(DecodeError) in try ClientResponse(type, body) } } catch {
      owners -= error == unowned ? 1 : 0
    }
    do { _ = try [UInt8]().decode { (body) throws(DecodeError) in try PeerMessage(type, body) } } catch {
      owners -= error == unowned ? 1 : 0
    }
    do { _ = try [UInt8]().decode { (body) throws(DecodeError) in try ControlMessage(type, body) } } catch {
      owners -= error == unowned ? 1 : 0
    }
    let isOfConnection = [.hello, .welcome, .refused, .goAway, .cancel].contains(type)
    #expect(4 + owners == (isOfConnection ? 0 : 1))
  }

  @Test func `a frame is read back and vouched for, and any flipped bit of it is noticed`() throws {
    var random = PRNG(seed: 8)
    for _ in 0..<(rounds / 20) {
      let type = random.pick(FrameType.allCases)
      let frame = random.frame(type)
      let header = try frame.decode { (bytes) throws(DecodeError) in
        try FrameHeader(UnsafeRawBufferPointer(rebasing: bytes[..<40]), bodyBytesMax: frame.count - 40)
      }
      #expect(header.type == type && header.bodyBytes == frame.count - 40)
      #expect(Frames.isIntact(frame))
      for bit in 0..<(frame.count * 8) {
        var flipped = frame
        flipped[bit / 8] ^= 1 << (bit % 8)
        #expect(!Frames.isIntact(flipped))
      }
    }
  }

  @Test func `a record, a token and a key come back as they went out`() throws {
    var random = PRNG(seed: 9)
    for _ in 0..<rounds {
      let record = random.record()
      let encoded = EncodedRecord(record)
      #expect(try encoded.decoded() == record)
      #expect(EncodedRecord(try encoded.decoded()) == encoded)
      #expect(encoded.isEmpty == record.isEmpty)
      let token = random.token()
      #expect(try ContextToken(bytes: token.bytes) == token)
      let key = random.key()
      let stored = try key.bytes.decode { (bytes) throws(DecodeError) in try Key(storageBytes: bytes) }
      #expect(stored == key)
    }
  }
}

enum Frames {
  /// Whether a receiver would take `frame` as what was sent.
  static func isIntact(_ frame: [UInt8]) -> Bool {
    frame.withUnsafeBytes { bytes in
      let head = UnsafeRawBufferPointer(rebasing: bytes[..<FrameHeader.bytes])
      let body = UnsafeRawBufferPointer(rebasing: bytes[FrameHeader.bytes...])
      guard let header = try? FrameHeader(head, bodyBytesMax: Limits.recordBytesMax) else { return false }
      return header.bodyBytes == body.count && header.vouches(for: body, header: head)
    }
  }
}

extension PRNG {
  mutating func frame(_ type: FrameType) -> [UInt8] {
    let body = body(type)
    let header = FrameHeader(
      type: type, requestID: number(), deadlineMs: number(), layoutVersion: UInt32(truncatingIfNeeded: number()),
      partition: PartitionID(UInt16(truncatingIfNeeded: number())))
    var frame: [UInt8] = []
    header.appendFrame(to: &frame) { body.encode(into: &$0) }
    return frame
  }
}
