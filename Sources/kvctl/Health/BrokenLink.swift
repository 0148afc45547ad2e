import KVModel

/// A link between two members of which at least one says that it does not reach the other, although both answer here.
///
/// What nodes say of their peers rests on answers, so a link that is silent one way shows at whoever asks over it. When
/// only one end complains, only what it sends, or the answers to it, are lost.
struct BrokenLink: Equatable {
  /// Who does not reach `to`.
  var from: Member
  var to: Member
  /// `to` does not reach `from` either.
  var isBothWays: Bool
  /// For how long, as who complains longest knows.
  var sinceMs: UInt64

  /// Every broken link once, in the order of the rows. Members that nobody reaches are told of as members.
  static func all(among rows: [ClusterHealth.Row]) -> [BrokenLink] {
    let ends = rows.filter { $0.description != nil && $0.condition != .isolated }
    var links: [BrokenLink] = []
    for (place, one) in ends.enumerated() {
      for other in ends[(place + 1)...] {
        switch (complaint(of: one, about: other), complaint(of: other, about: one)) {
        case (let a?, let b?):
          links.append(BrokenLink(from: one.member, to: other.member, isBothWays: true, sinceMs: max(a, b)))
        case (let a?, nil): links.append(BrokenLink(from: one.member, to: other.member, isBothWays: false, sinceMs: a))
        case (nil, let b?): links.append(BrokenLink(from: other.member, to: one.member, isBothWays: false, sinceMs: b))
        case (nil, nil): break
        }
      }
    }
    return links
  }

  /// For how long `row` has not reached `other`, milliseconds; nil when it does.
  private static func complaint(of row: ClusterHealth.Row, about other: ClusterHealth.Row) -> UInt64? {
    row.description?.peers.first { $0.node == other.member.id && $0.health.isGone }?.sinceMs
  }

  var warning: String {
    let since = Units.span(ms: sinceMs)
    return isBothWays
      ? "\(from.name) and \(to.name) have not reached each other for \(since), though both answer here"
      : "\(from.name) has not reached \(to.name) for \(since), though \(to.name) reaches \(from.name): "
        + "the link is silent one way"
  }

  var json: JSON {
    .object([
      ("from", .text(from.name)), ("to", .text(to.name)), ("both_ways", .bool(isBothWays)),
      ("since_ms", .integer(sinceMs)),
    ])
  }
}
