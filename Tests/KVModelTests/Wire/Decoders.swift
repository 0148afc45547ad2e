import Testing

@testable import KVModel

/// One decoder under attack: how to draw its inputs, and what it makes of any bytes.
struct Decoder: Sendable, CustomTestStringConvertible {
  let name: String
  let valid: @Sendable (inout PRNG) -> [UInt8]
  let reseal: @Sendable (inout [UInt8]) -> Void
  /// The bytes that the decoded value encodes to; throws what the decoder throws.
  let recode: @Sendable ([UInt8]) throws(DecodeError) -> [UInt8]

  var testDescription: String { name }

  init(
    _ name: String, valid: @escaping @Sendable (inout PRNG) -> [UInt8],
    reseal: @escaping @Sendable (inout [UInt8]) -> Void = Reseal.none,
    recode: @escaping @Sendable ([UInt8]) throws(DecodeError) -> [UInt8]
  ) {
    self.name = name
    self.valid = valid
    self.reseal = reseal
    self.recode = recode
  }

  /// A decoder of a part: read, then no byte may be left.
  init<T>(
    part name: String, draw: @escaping @Sendable (inout PRNG) -> T,
    encode: @escaping @Sendable (T, inout [UInt8]) -> Void,
    decode: @escaping @Sendable (inout ByteReader) throws(DecodeError) -> T
  ) {
    self.init(name) { random in
      var bytes: [UInt8] = []
      encode(draw(&random), &bytes)
      return bytes
    } recode: { (input) throws(DecodeError) in
      let value = try input.decode { (buffer) throws(DecodeError) in
        var reader = ByteReader(buffer)
        let value = try decode(&reader)
        try reader.end()
        return value
      }
      var bytes: [UInt8] = []
      encode(value, &bytes)
      return bytes
    }
  }

  static let all = messages + parts + [record, token, storageKey, header]

  static let messages = FrameType.allCases.map { type in
    Decoder("\(type)") {
      $0.body(type).bytes
    } recode: { (input) throws(DecodeError) in
      try Body(type, input).bytes
    }
  }

  static let parts = [
    Decoder(part: "Layout") {
      $0.layout()
    } encode: {
      $0.encode(into: &$1)
    } decode: { (r) throws(DecodeError) in
      try Layout(from: &r)
    },
    Decoder(part: "NodeDescription") {
      $0.description()
    } encode: {
      $0.encode(into: &$1)
    } decode: {
      (r) throws(DecodeError) in
      try NodeDescription(from: &r)
    },
    Decoder(part: "Failure") {
      $0.failure()
    } encode: {
      $0.encode(into: &$1)
    } decode: { (r) throws(DecodeError) in
      try Failure(from: &r)
    },
    Decoder(part: "VersionVector") {
      $0.vector()
    } encode: {
      VersionVector($0.entries).encode(into: &$1)
    } decode: { (r) throws(DecodeError) in
      try VersionVector(from: &r)
    },
    Decoder(part: "Key") {
      $0.key()
    } encode: {
      $0.encode(into: &$1)
    } decode: { (r) throws(DecodeError) in
      try Key(from: &r)
    },
    Decoder(part: "PartitionTable") { draw in
      let layout = draw.layout()
      return draw.table(of: layout)
    } encode: {
      $0.encode(into: &$1)
    } decode: { (r) throws(DecodeError) in
      try PartitionTable(from: &r, members: 5)
    },
  ]

  static let record = Decoder("EncodedRecord") {
    $0.encodedRecord().bytes
  } reseal: {
    Reseal.record(&$0)
  } recode: { (input) throws(DecodeError) in
    // Rebuilt by the constructors that sort, so that an order which the decoder overlooked shows.
    let record = try EncodedRecord(unverified: input).decoded()
    let rebuilt = Record(context: VersionVector(record.context.entries), versions: record.versions)
    return EncodedRecord(rebuilt).bytes
  }

  static let token = Decoder("ContextToken") {
    $0.token().bytes
  } reseal: {
    Reseal.token(&$0)
  } recode: { (input) throws(DecodeError) in
    try ContextToken(bytes: input).bytes
  }

  static let storageKey = Decoder("Key in storage") {
    $0.key().bytes
  } reseal: {
    Reseal.storageKey(&$0)
  } recode: { (input) throws(DecodeError) in
    try input.decode { (bytes) throws(DecodeError) in try Key(storageBytes: bytes) }.bytes
  }

  /// Whole frames: the header, then the body of a frame that the header vouches for.
  static let header = Decoder("FrameHeader") { draw in
    draw.frame(draw.pick(FrameType.allCases))
  } reseal: {
    Reseal.frame(&$0)
  } recode: { (input) throws(DecodeError) in
    let (header, isWhole) = try input.decode { (bytes) throws(DecodeError) in
      let head = UnsafeRawBufferPointer(rebasing: bytes[..<min(FrameHeader.bytes, bytes.count)])
      let header = try FrameHeader(head, bodyBytesMax: Limits.requestBytesMax)
      let body = UnsafeRawBufferPointer(rebasing: bytes[FrameHeader.bytes...])
      return (header, header.bodyBytes == body.count && header.vouches(for: body, header: head))
    }
    guard isWhole else { throw .checksumMismatch }
    let body = try Body(header.type, Array(input[FrameHeader.bytes...]))
    var frame: [UInt8] = []
    header.appendFrame(to: &frame) { body.encode(into: &$0) }
    return frame
  }
}
