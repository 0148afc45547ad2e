@testable import KVModel

/// What a record says of one dot, said independently of vectors and joins. A join can only raise it.
enum Standing: Int, Comparable {
  case unseen, live, superseded

  static func < (a: Standing, b: Standing) -> Bool { a.rawValue < b.rawValue }
}

/// A small world of writes: each dot stands for one version, for ever, and every record drawn from it is a state that
/// replicas may reach. Small, so that every relation between two records is met often.
struct World {
  let actors: [Actor]
  let countersMax: UInt64
  let versions: [Dot: Version]
  let dots: [Dot]

  init(seed: UInt64, actors count: Int = 4, countersMax: UInt64 = 4) {
    var random = PRNG(seed: seed)
    actors = (0..<count).map { Actor(node: NodeID(UInt64($0 / 2)), epoch: UInt32($0 % 2)) }
    self.countersMax = countersMax
    var versions: [Dot: Version] = [:]
    for actor in actors {
      for counter in 1...countersMax {
        let dot = Dot(actor: actor, counter: counter)
        versions[dot] = random.version(dot)
      }
    }
    // Nothing is swept to begin with: replicas sweep by themselves.
    for (dot, version) in versions where version.content == .swept { versions[dot]?.content = .value([]) }
    self.versions = versions
    dots = versions.keys.sorted()
  }

  func vector(_ random: inout PRNG) -> VersionVector {
    VersionVector(actors.map { VersionVector.Entry(actor: $0, counter: random.below(countersMax + 1)) })
  }

  func record(_ random: inout PRNG) -> Record {
    let context = vector(&random)
    var kept: [Version] = []
    for dot in dots where context.covers(dot) && random.chance(1, of: 3) {
      if let version = versions[dot] { kept.append(version) }
    }
    var record = Record(context: context, versions: kept)
    if random.chance(1, of: 4) { record.sweep(at: WallTime(milliseconds: random.number())) }
    return record
  }

  /// The standing of every dot of this world, by plain search.
  func standings(in record: Record) -> [Standing] {
    dots.map { dot in
      if record.versions.contains(where: { $0.dot == dot }) { return .live }
      let isSeen = record.context.entries.contains { $0.actor == dot.actor && $0.counter >= dot.counter }
      return isSeen ? .superseded : .unseen
    }
  }

  /// The dots whose bytes were swept.
  func swept(in record: Record) -> Set<Dot> { Set(record.versions.filter { $0.content == .swept }.map(\.dot)) }
}

typealias Join = @Sendable (Record, Record) -> Record

/// The first law that a join breaks on three records, nil when it holds all. The same function judges planted joins.
func brokenLaw(of join: Join, on records: (Record, Record, Record), in world: World) -> String? {
  let (a, b, c) = records
  let ab = join(a, b)
  if ab != join(b, a) { return "commutative" }
  let abc = join(ab, c)
  if abc != join(a, join(b, c)) { return "associative" }
  if join(a, a) != a { return "idempotent" }
  if join(ab, a) != ab || join(b, ab) != ab { return "upper bound" }
  // Least: what is above both a and b is above their join. `abc` is above both.
  if join(abc, ab) != abc { return "least" }
  return nil
}

/// The first difference between a join and the naive one, which takes the higher standing of each dot.
func lostOrRevived(by join: Join, _ a: Record, _ b: Record, in world: World) -> Dot? {
  let joined = join(a, b)
  let before = zip(world.standings(in: a), world.standings(in: b)).map { max($0, $1) }
  let after = world.standings(in: joined)
  for (place, dot) in world.dots.enumerated() where before[place] != after[place] { return dot }
  for version in joined.versions {
    let isSwept = world.swept(in: a).contains(version.dot) || world.swept(in: b).contains(version.dot)
    if isSwept != (version.content == .swept) { return version.dot }
  }
  return nil
}

/// Joins that are wrong, each in a way that a store really was.
enum PlantedJoin {
  /// Keeps whatever anyone has: what a delete covered comes back.
  static let union: Join = { a, b in
    let dots = Set(a.versions.map(\.dot))
    return Record(
      context: a.context.joined(b.context), versions: a.versions + b.versions.filter { !dots.contains($0.dot) })
  }
  /// Last write wins: an acknowledged concurrent write is lost (Jepsen on Riak, Cassandra).
  static let lastWriteWins: Join = { a, b in
    let joined = a.joined(b)
    return Record(context: joined.context, versions: Array(joined.newestFirst.prefix(1)))
  }
  /// Takes the left copy of a dot that both have: sweeping makes it order-dependent.
  static let leftBiased: Join = { a, b in
    let joined = a.joined(b)
    let mine = a.versions + b.versions.filter { theirs in !a.versions.contains { $0.dot == theirs.dot } }
    return Record(
      context: joined.context,
      versions: mine.filter { version in joined.versions.contains { $0.dot == version.dot } })
  }
  /// Forgets the other's context: a version that was superseded there stays.
  static let forgetfulContext: Join = { a, b in
    let dots = Set(a.versions.map(\.dot))
    return Record(context: a.context, versions: a.versions + b.versions.filter { !dots.contains($0.dot) })
  }
  /// Off by one: the newest dot that a context covers does not count as covered.
  static let offByOne: Join = { a, b in
    func isLive(_ version: Version, in other: Record) -> Bool {
      other.versions.contains { $0.dot == version.dot } || other.context[version.dot.actor] <= version.dot.counter
    }
    let kept =
      a.versions.filter { isLive($0, in: b) }
      + b.versions.filter { theirs in
        isLive(theirs, in: a) && !a.versions.contains { $0.dot == theirs.dot }
      }
    return Record(context: a.context.joined(b.context), versions: kept)
  }
  static let all: [(name: String, join: Join)] = [
    ("union", union), ("last write wins", lastWriteWins), ("left biased", leftBiased),
    ("forgetful context", forgetfulContext), ("off by one", offByOne),
  ]
}
