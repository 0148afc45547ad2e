@testable import KVModel

/// Causal histories as plain sets, after Schwarz and Mattern 1994: the reference that the vectors compress. It knows no
/// vector, no counter order and no join: a replica is the set of dots it has seen, a write the set it replaced.
struct CausalHistories {
  /// What each write replaced.
  private(set) var replaced: [Dot: Set<Dot>] = [:]

  mutating func write(_ dot: Dot, replacing: Set<Dot>) { replaced[dot] = replacing }

  /// The writes in `seen` that no write in `seen` replaced.
  func live(_ seen: Set<Dot>) -> Set<Dot> {
    seen.filter { dot in !seen.contains { replaced[$0]?.contains(dot) ?? false } }
  }
}

/// A random life of one key on several replicas, lived twice: by records and by explicit histories.
struct History {
  struct Replica {
    var actor: Actor
    var record = Record()
    var seen: Set<Dot> = []
    /// What a copy of the disk would bring back.
    var backup: (record: Record, seen: Set<Dot>) = (Record(), [])
  }

  struct Message {
    var record: Record
    var seen: Set<Dot>
  }

  struct Options {
    var replicas = 3
    var steps = 40
    /// A replica that may have forgotten dots mints under a new epoch. Off: the planted bug of HAZARDS.md row 7.
    var raisesEpoch = true
    var join: Join = { $0.joined($1) }
  }

  private(set) var replicas: [Replica]
  private(set) var model = CausalHistories()
  private(set) var versions: [Dot: Version] = [:]
  private var inFlight: [Message] = []
  private var contexts: [Message] = []
  private var counter: UInt64 = 0
  private var random: PRNG
  private let options: Options
  /// The first disagreement between the two lives.
  private(set) var fault: String?

  init(seed: UInt64, options: Options = Options()) {
    self.options = options
    random = PRNG(seed: seed)
    replicas = (0..<options.replicas).map { Replica(actor: Actor(node: NodeID(UInt64($0 + 1)), epoch: 0)) }
  }

  mutating func run() {
    for _ in 0..<options.steps where fault == nil { step() }
  }

  private mutating func step() {
    let place = random.index(replicas.count)
    switch random.below(12) {
    case 0, 1: write(at: place, basis: nil)
    case 2, 3, 4:
      write(at: place, basis: contexts.isEmpty ? Message(record: Record(), seen: []) : random.pick(contexts))
    case 5: read(from: place, random.index(replicas.count))
    case 6, 7: inFlight.append(Message(record: replicas[place].record, seen: replicas[place].seen))
    case 8, 9: if !inFlight.isEmpty { deliver(random.pick(inFlight), to: place) }  // stays: duplicated and reordered
    case 10: replicas[place].record.sweep(at: WallTime(milliseconds: random.number()))
    default: random.chance(1, of: 2) ? backUp(place) : restore(place)
    }
  }

  /// A put or a delete; `basis` nil: without context, so that it replaces all that the coordinator holds.
  private mutating func write(at place: Int, basis: Message?) {
    let known = replicas[place].record.context[replicas[place].actor]
    counter = options.raisesEpoch ? counter + 1 : known + 1
    let dot = Dot(actor: replicas[place].actor, counter: counter)
    let replacing = basis?.seen ?? replicas[place].seen
    let superseding = basis?.record.context ?? replicas[place].record.context
    guard versions[dot] == nil, !superseding.covers(dot) else {
      fault = "\(dot) minted twice"
      return
    }
    let version = random.version(dot)
    versions[dot] = version
    model.write(dot, replacing: replacing)
    replicas[place].record.add(version, superseding: superseding)
    replicas[place].seen.formUnion(replacing)
    replicas[place].seen.insert(dot)
    compare(replicas[place].record, replicas[place].seen, "a write at \(place)")
  }

  /// A quorum read of two replicas: its context may come back with a later write.
  private mutating func read(from a: Int, _ b: Int) {
    let joined = options.join(replicas[a].record, replicas[b].record)
    contexts.append(Message(record: joined, seen: replicas[a].seen.union(replicas[b].seen)))
    compare(joined, replicas[a].seen.union(replicas[b].seen), "a read of \(a) and \(b)")
  }

  private mutating func deliver(_ message: Message, to place: Int) {
    replicas[place].record = options.join(replicas[place].record, message.record)
    replicas[place].seen.formUnion(message.seen)
    compare(replicas[place].record, replicas[place].seen, "a delivery to \(place)")
  }

  private mutating func backUp(_ place: Int) {
    replicas[place].backup = (replicas[place].record, replicas[place].seen)
  }

  /// The disk goes back in time, wholly or to its last copy.
  private mutating func restore(_ place: Int) {
    if random.chance(1, of: 2) { replicas[place].backup = (Record(), []) }
    (replicas[place].record, replicas[place].seen) = replicas[place].backup
    if options.raisesEpoch { replicas[place].actor.epoch += 1 }
  }

  private mutating func compare(_ record: Record, _ seen: Set<Dot>, _ event: String) {
    if fault == nil, let difference = difference(record, seen) { fault = "\(event): \(difference)" }
  }

  /// How `record` differs from what the sets say: in a version, in its content, or in a dot that it claims to know.
  func difference(_ record: Record, _ seen: Set<Dot>) -> String? {
    let live = model.live(seen)
    let held = Set(record.versions.map(\.dot))
    if held != live { return "lost \(live.subtracting(held).sorted()), revived \(held.subtracting(live).sorted())" }
    for dot in versions.keys where record.context.covers(dot) != seen.contains(dot) { return "wrong about \(dot)" }
    for version in record.versions {
      guard var original = versions[version.dot] else { return "nobody wrote \(version.dot)" }
      if version.content == .swept { original.content = .swept }
      if original != version { return "\(version.dot) is not what was written" }
    }
    return nil
  }

  /// Joins all replicas in a drawn order, some of them twice.
  func converged(with random: inout PRNG) -> (record: Record, seen: Set<Dot>) {
    var order = Array(replicas.indices) + [random.index(replicas.count)]
    order.shuffle(using: &random)
    var record = Record()
    for place in order { record = options.join(record, replicas[place].record) }
    return (record, replicas.reduce(into: []) { $0.formUnion($1.seen) })
  }
}
