import KVClient
import KVModel

/// What the clients of a load do next: drawn from each client's own generator.
struct LoadMix: Sendable {
  enum Action: Equatable {
    case get
    /// With the context of this client's last answer for the key, with that of an older one, or without any.
    case put(Basis)
    case delete(Basis)
    /// A read, and a write that replaces exactly what it saw.
    case readModifyWrite
  }

  enum Basis: Equatable { case none, last, stale }

  /// Keys in use at a time. They come into use one after the other, are hot at first, and are out of use after
  /// `keyLifeMs`, though read and written now and then: a key's history stays short, and so what may be concluded from it
  /// stays sharp, even where many of its writes had no answer.
  let keysInUse: Int
  let hotKeys: Int

  static let keyLifeMs = 20_000

  init(keysInUse: Int) {
    self.keysInUse = keysInUse
    hotKeys = min(keysInUse, max(2, keysInUse / 10))
  }

  /// Keys that so many seconds need.
  func keys(seconds: Int) -> Int {
    keysInUse + (seconds * 1_000 * keysInUse + LoadMix.keyLifeMs - 1) / LoadMix.keyLifeMs
  }

  /// The key of an operation that begins so long after the load; half of the operations go to the newest keys.
  func key(afterMs ms: Int, _ prng: inout PRNG) -> Int {
    let oldest = ms * keysInUse / LoadMix.keyLifeMs
    let newest = oldest + keysInUse - 1
    switch prng.below(16) {
    case 0..<8: return newest - prng.index(hotKeys)
    case 8..<15: return newest - prng.index(keysInUse)
    default: return prng.index(newest + 1)
    }
  }

  func action(_ prng: inout PRNG) -> Action {
    switch prng.below(100) {
    case 0..<40: .get
    case 40..<56: .readModifyWrite
    case 56..<72: .put(.last)
    case 72..<86: .put(.none)
    case 86..<91: .put(.stale)
    case 91..<95: .delete(.last)
    case 95..<98: .delete(.none)
    default: .delete(.stale)
    }
  }

  func readConsistency(_ prng: inout PRNG) -> KVConsistency {
    switch prng.below(100) {
    case 0..<84: .quorum
    case 84..<92: .one
    default: .all
    }
  }

  func writeConsistency(_ prng: inout PRNG) -> KVConsistency { prng.chance(1, of: 12) ? .all : .quorum }

  func deadline(_ prng: inout PRNG) -> Duration {
    switch prng.below(10) {
    case 0: .milliseconds(200)
    case 1: .seconds(3)
    default: .seconds(1)
    }
  }

  /// Mostly small; some above what a read's reply holds at once, some far above.
  func valueBytes(_ prng: inout PRNG) -> Int {
    switch prng.below(100) {
    case 0..<75: Int(prng.within(8...200))
    case 75..<93: Int(prng.within(200...6_000))
    case 93..<98: Int(prng.within(6_000...16_000))
    default: Int(prng.within(16_000...65_536))
    }
  }
}

/// The value that a put writes: its operation's number and a colon, over and over up to the size.
enum LoadValue {
  /// A foreign or damaged value. Operations count from 1.
  static let unreadable = 0

  static func make(_ number: Int, bytes: Int) -> [UInt8] {
    let word = Array("\(number):".utf8)
    var value: [UInt8] = []
    value.reserveCapacity(bytes + word.count)
    repeat { value += word } while value.count < bytes
    return value
  }

  static func number(of value: [UInt8]) -> Int {
    guard let colon = value.firstIndex(of: UInt8(ascii: ":")),
      let number = Int(String(decoding: value[..<colon], as: UTF8.self)), number > 0,
      make(number, bytes: value.count) == value
    else { return unreadable }
    return number
  }
}

/// What one client remembers of one key: where the contexts of its writes come from.
struct LoadMemory {
  typealias Answer = (operation: Int, context: KVContext)

  private(set) var last: Answer?
  /// One of the answers before, of any age.
  private(set) var stale: Answer?
  /// The last read found nothing.
  var isAbsent = false

  mutating func note(_ operation: Int, _ context: KVContext, _ prng: inout PRNG) {
    if let last, stale == nil || prng.chance(1, of: 4) { stale = last }
    last = (operation, context)
  }

  func answer(for basis: LoadMix.Basis) -> Answer? {
    switch basis {
    case .none: nil
    case .last: last
    case .stale: stale ?? last
    }
  }
}
