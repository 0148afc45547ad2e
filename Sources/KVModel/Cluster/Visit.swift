/// What a node that was started with seeds is told by one of them: which cluster it is, and who is in it.
///
/// A visitor says HELLO with no node expected, then `visit`; the host answers `visited`, and the connection ends. Nothing
/// else is heard on it.
public struct Visit: Hashable, Sendable {
  public var layout: Layout
  /// Ascending by node: where the members are now, and who lives.
  public var members: [MemberEntry]

  public init(layout: Layout, members: [MemberEntry]) {
    self.layout = layout
    self.members = members
  }
}

// | size | field |
// |---|---|
// | 4, … | length of the layout, the layout |
// | 2 | members, then each |
extension Visit {
  func encode(into bytes: inout [UInt8]) {
    var inner: [UInt8] = []
    layout.encode(into: &inner)
    bytes.append(blob: inner)
    bytes.append(integer: UInt16(members.count))
    for entry in members { entry.encode(into: &bytes) }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let count = Int(try reader.u32())
    var inner = ByteReader(try reader.view(count))
    layout = try Layout(from: &inner)
    try inner.end()
    members = try GossipMessage.table(from: &reader)
  }
}
