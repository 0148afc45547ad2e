import KVCore
import KVModel

/// Draws operations on a few keys, with everything that records can have: siblings, tombstones, expiries, swept values,
/// second rounds, retries under one request id, contexts that are refused, joins that change nothing.
struct RandomOperations {
  private var random: PRNG
  private var counter: UInt64 = 0
  let keys = (0..<12).map { key("key-\($0)") }
  /// What was minted on each key, newest last.
  private var minted: [Key: [(dot: Dot, request: UInt64)]] = [:]
  /// Bytes of a value.
  var valueBytesMax = 2_000

  init(random: PRNG) { self.random = random }

  /// No read.
  mutating func nextChange() -> StorageOperation {
    while true {
      let operation = next()
      if !operation.isRead { return operation }
    }
  }

  mutating func next() -> StorageOperation {
    counter += 1
    let place = random.index(keys.count)
    let key = keys[place]
    switch random.index(23) {
    case 12: return .digests(LeafPlace(of: key, testGeometry).partition, nodes())
    case 13:
      let after = random.chance(1, of: 2) ? keys[random.index(keys.count)] : nil
      return .listLeaf(LeafPlace(of: key, testGeometry), after: after, limit: Int(random.within(1...4)))
    case 0: return .read(key)
    case 1: return .findRequest(RequestID(client: 9, sequence: random.within(1...counter)), key)
    case 2: return .extendLease(Lease(actor: testActor, sequence: counter * 100, stamp: stamp(counter)))
    case 3, 4, 5: return .merge(key, .join(theirs(place)), hints: targets())
    case 14: return .hint(key, targets())
    case 15:
      let after = random.chance(1, of: 2) ? keys[random.index(keys.count)] : nil
      let token = random.chance(1, of: 3) ? Token(random.next()) : Token(0)
      return .listHints(target(), from: token, after: after, limit: Int(random.within(1...4)))
    case 16:
      return .forgetHints(target(), [key, keys[random.index(keys.count)]], upTo: random.chance(1, of: 2) ? 0 : .max)
    case 17:
      return .forgetMarks(
        target(), LeafPlace(of: key, testGeometry).partition, upTo: random.chance(1, of: 2) ? 0 : .max)
    case 18: return .countHints
    case 20:
      let wall = WallTime(milliseconds: random.within(1...40) * 500)
      let at = counter % 2 == 0 ? wall : WallTime(milliseconds: (counter % 40 + 1) * 500)
      return .merge(key, .sweep(wall, entry: at))
    case 21:
      let wall = WallTime(milliseconds: random.within(1...40) * 500)
      let after =
        random.chance(1, of: 2) ? ExpiryEntry(at: WallTime(milliseconds: random.within(1...40) * 500), key: key) : nil
      return .listExpired(upTo: wall, after: after, limit: Int(random.within(1...4)))
    case 22:
      let place = LeafPlace(of: key, testGeometry)
      return .rescan(
        place.partition, from: random.chance(1, of: 2) ? 0 : place.leaf, bytesMax: Int(random.within(0...3)) * 1_000)
    case 19: return .keyDigests([key, keys[random.index(keys.count)]])
    default: return .merge(key, mine(key), hints: targets())
    }
  }

  private mutating func target() -> NodeID { NodeID(random.within(2...4)) }

  private mutating func targets() -> [NodeID] {
    random.chance(2, of: 3) ? [] : Set((0..<random.within(1...2)).map { _ in target() }).sorted()
  }

  private mutating func nodes() -> [TreeNode] {
    (0..<random.within(1...8)).map { _ in
      let depth = random.index(testGeometry.leafBits + 1)
      return TreeNode(depth: depth, index: UInt32(random.index(1 << depth)))
    }
  }

  private mutating func mine(_ key: Key) -> Change {
    let earlier = minted[key, default: []]
    var change = Mint(
      dot: dot(counter), basis: .overwrite, stamp: stamp(counter * random.within(1...3_000)),
      stampCeiling: Stamp(bits: .max), requestID: RequestID(client: 9, sequence: counter), expiry: nil, checksum: 0,
      content: .tombstone)
    if !random.chance(1, of: 5) {
      let value = [UInt8](repeating: UInt8(ascii: "x"), count: random.index(valueBytesMax))
      (change.content, change.checksum) = (.value(value), Checksum.of(value))
      if random.chance(1, of: 3) { change.expiry = WallTime(milliseconds: random.within(1...40) * 500) }
    }
    switch random.index(4) {
    case 0: break
    case 1 where !earlier.isEmpty: secondRound(of: earlier[random.index(earlier.count)], &change)
    default: change.basis = .context(context(earlier.map(\.dot)))
    }
    minted[key, default: []].append((change.dot, change.requestID.sequence))
    return .mint(change)
  }

  /// As a coordinator does it: the same request, a later dot.
  private mutating func secondRound(of first: (dot: Dot, request: UInt64), _ change: inout Mint) {
    var covered = VersionVector()
    covered.add(first.dot)
    let beside = Beside(history: theirs(0).context, stamp: change.stamp)
    change.basis = .again(first: first.dot, covered: covered, beside: beside)
    change.stampCeiling = Stamp(bits: change.stamp.bits + random.within(0...50) << 16)
    change.requestID.sequence = first.request
  }

  /// What some client read; now and then a forged one, which claims dots that are yet to be minted.
  private mutating func context(_ dots: [Dot]) -> VersionVector {
    var context = VersionVector()
    if !dots.isEmpty, random.chance(3, of: 4) { context.add(dots[random.index(dots.count)]) }
    if random.chance(1, of: 4) { context.join(theirs(0).context) }
    if random.chance(1, of: 40) { context.add(dot(counter + 3)) }
    return context
  }

  /// Another replica's state of the key at `place`. A dot names one version of a key for ever, so its content follows
  /// from it.
  private mutating func theirs(_ place: Int) -> Record {
    let actor = Actor(node: NodeID(random.within(2...4)), epoch: 1)
    var context = VersionVector()
    context.add(dot(random.within(1...20), of: Actor(node: NodeID(5), epoch: 2)))
    var versions: [Version] = []
    for number in Set([random.within(1...20), random.within(1...20)]) {
      var found = version(number, "theirs \(number)", of: actor)
      found.stamp = stamp(number * 5_000)
      found.requestID.sequence = number * 100 + UInt64(place)
      if number % 3 == 0 {
        found.expiry = WallTime(milliseconds: number * 500)
        if random.chance(1, of: 3) { found.content = .swept }
      }
      if number % 7 == 0 { (found.content, found.checksum, found.expiry) = (.tombstone, 0, nil) }
      versions.append(found)
    }
    return Record(context: context, versions: versions)
  }
}

extension StorageOperation {
  var isRead: Bool {
    switch self {
    case .read, .findRequest, .digests, .roots, .listLeaf, .listHints, .countHints, .keyDigests, .listExpired, .rescan,
      .listGaps, .scrub:
      true
    case .merge, .extendLease, .hint, .forgetHints, .forgetMarks, .changeGaps: false
    }
  }

  /// Keeps no order with the operations of a key, which may wait for the disk in one store and not in another.
  var isOfNoKey: Bool {
    switch self {
    case .hint, .forgetHints, .forgetMarks, .changeGaps: true
    case .read, .merge, .extendLease, .findRequest, .digests, .roots, .listLeaf, .listHints, .countHints, .keyDigests,
      .listExpired, .rescan, .listGaps, .scrub:
      false
    }
  }
}
