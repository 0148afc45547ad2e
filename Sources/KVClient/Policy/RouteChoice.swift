internal import KVModel

/// Which of several nodes a call goes to.
///
/// Reads go to the less busy of two that are drawn at random (Mitzenmacher, "The power of two choices", 1996), own zone
/// first: always the least busy one would send every client to the same node at once.
///
/// Writes go to the *first* healthy owner in the key's preference list, always the same one. Blind writes of one key
/// through different coordinators at a time do not see each other: the second round of each overwrites, or both stay as
/// siblings. Through one coordinator they follow one another.
enum RouteChoice {
  /// How fit a node is to take a call now; the order is the order of preference.
  enum Standing: UInt8, Comparable {
    /// Connected and well.
    case up
    /// Not connected, and nothing is known against it.
    case fresh
    /// It failed lately.
    case avoided
    /// It cannot serve this cluster's calls; asked only so that it can say why.
    case unfit
    /// This call was there already.
    case tried

    static func < (a: Standing, b: Standing) -> Bool { a.rawValue < b.rawValue }
  }

  struct Candidate: Hashable {
    var standing: Standing
    /// In the client's own zone.
    var isNear = false
    /// Requests that wait for its answer.
    var inFlight = 0

    fileprivate var rank: UInt8 { standing.rawValue &* 2 &+ (isNear ? 0 : 1) }
  }

  /// The first of those with the best standing; nil when none is as good as `worst`.
  static func first(_ candidates: some Collection<Candidate>, atWorst worst: Standing) -> Int? {
    var best: (place: Int, standing: Standing)?
    for (place, candidate) in candidates.enumerated() where candidate.standing <= worst {
      if best.map({ candidate.standing < $0.standing }) ?? true { best = (place, candidate.standing) }
    }
    return best?.place
  }

  /// The less busy of two of those with the best standing, near ones first; nil when none is as good as `worst`.
  static func leastBusyOfTwo(
    _ candidates: some Collection<Candidate>, atWorst worst: Standing, random: inout PRNG
  ) -> Int? {
    let fit = candidates.lazy.filter { $0.standing <= worst }
    guard let rank = fit.map(\.rank).min() else { return nil }
    var count: UInt64 = 0
    var chosen: (place: Int, inFlight: Int)?
    var other: (place: Int, inFlight: Int)?
    // Two of however many, each pair as likely as any other: reservoir sampling.
    for (place, candidate) in candidates.enumerated() where candidate.standing <= worst && candidate.rank == rank {
      count += 1
      let drawn = (place, candidate.inFlight)
      if count == 1 {
        chosen = drawn
      } else if count == 2 {
        other = drawn
      } else {
        switch random.below(count) {
        case 0: chosen = drawn
        case 1: other = drawn
        default: break
        }
      }
    }
    guard let chosen, let other else { return chosen?.place }
    if chosen.inFlight == other.inFlight { return random.chance(1, of: 2) ? chosen.place : other.place }
    return chosen.inFlight < other.inFlight ? chosen.place : other.place
  }
}
