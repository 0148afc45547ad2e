import KVCore
import KVModel

@testable import StorageDriver

let testGeometry = Driver.geometry
let testIdentity = Driver.identity
let testActor = Actor(node: NodeID(1), epoch: 1)

func key(_ text: String) -> Key { try! Key(Array(text.utf8)) }

func dot(_ counter: UInt64, of actor: Actor = testActor) -> Dot { Dot(actor: actor, counter: counter) }

func stamp(_ milliseconds: UInt64) -> Stamp { Stamp(WallTime(milliseconds: milliseconds)) }

/// A write without a context, of `counter`'s dot, at `counter` milliseconds.
func mint(
  _ counter: UInt64, _ text: String?, basis: Mint.Basis = .overwrite, at milliseconds: UInt64? = nil,
  ceiling: Stamp = Stamp(bits: .max), expiry: WallTime? = nil, actor: Actor = testActor
) -> Change {
  let bytes = text.map { Array($0.utf8) }
  return .mint(
    Mint(
      dot: dot(counter, of: actor), basis: basis, stamp: stamp(milliseconds ?? counter), stampCeiling: ceiling,
      requestID: RequestID(client: 9, sequence: counter), expiry: expiry,
      checksum: bytes.map { Checksum.of($0) } ?? 0, content: bytes.map { .value($0) } ?? .tombstone))
}

func version(_ counter: UInt64, _ text: String, of actor: Actor) -> Version {
  let bytes = Array(text.utf8)
  return Version(
    dot: dot(counter, of: actor), stamp: stamp(counter),
    requestID: RequestID(client: actor.node.value, sequence: counter),
    checksum: Checksum.of(bytes), content: .value(bytes))
}

extension EncodedRecord {
  /// The values in it, in the order of their dots.
  var values: [String] {
    (try? decoded())?.versions.compactMap {
      guard case .value(let bytes) = $0.content else { return nil }
      return String(decoding: bytes, as: UTF8.self)
    } ?? ["damaged"]
  }
}
