import KVModel
import Testing

@testable import KVCore

/// A disk of which only the reserve is left.
struct DiskRoomTests {
  private static func write(_ payload: WriteRequest.Payload) throws -> WriteRequest {
    WriteRequest(
      key: try Key("k".utf8), quorum: .quorum, requestID: RequestID(client: 1, sequence: 1), context: nil,
      payload: payload)
  }

  @Test func `it is nearly full at the limit, and has room only two percent below`() {
    var watch = DiskWatch()
    var seen: [Bool] = []
    for used: UInt64 in [94, 95, 96, 94, 93, 92, 94, 95] {
      _ = watch.onMeasured(usedBytes: used << 30, totalBytes: 100 << 30)
      seen.append(watch.room == .enough)
    }
    #expect(seen == [true, false, false, false, false, true, true, false])
  }

  @Test func `only a change is told, nothing is known of a disk without a size, and 100 is never`() {
    var watch = DiskWatch()
    var changes = [watch.onMeasured(usedBytes: 5, totalBytes: 0)]
    for _ in 0..<2 { changes.append(watch.onMeasured(usedBytes: .max, totalBytes: .max)) }
    watch = DiskWatch()
    watch.limitPercent = 100
    changes.append(watch.onMeasured(usedBytes: 10, totalBytes: 10))
    #expect(changes == [false, true, false, false])
  }

  @Test func `values are refused with the cause, deletions are not`() throws {
    let put = try Self.write(.put([1], checksum: Checksum.of([1])))
    let room = DiskRoom.reserveOnly(usedPercent: 96, resumesBelow: 93)
    let failure = try #require(room.refusal(of: put, at: NodeID(7)))
    #expect(failure.code == .overloaded && failure.outcome == .rejected && failure.retryAfterMs == 1_000)
    #expect(failure.detail.contains("96 % full") && failure.detail.contains("below 93 %"))
    #expect(room.refusal(of: try Self.write(.delete), at: NodeID(7)) == nil)
    #expect(DiskRoom.enough.refusal(of: put, at: NodeID(7)) == nil)
  }

  @Test func `Control publishes the change once, notes it, and describes it`() {
    var node = ControlTests.Node()
    node.form()
    func measured(_ percent: UInt64) -> Control.Input {
      var measurements = NodeDescription.Measurements()
      (measurements.diskUsedBytes, measurements.diskTotalBytes) = (percent, 100)
      return .measured(measurements, slow: [])
    }
    let quiet = node.step(measured(50))
    let effects = node.step(measured(97))
    let room = DiskRoom.reserveOnly(usedPercent: 97, resumesBelow: 93)
    guard case .publish(let view)? = effects.last else {
      Issue.record("nothing was published: \(effects)")
      return
    }
    #expect(effects.first == .note(.diskRoom(room)) && effects.count == 2 && view.disk == room)
    let fuller = node.step(measured(98))
    #expect(quiet.isEmpty && fuller.isEmpty)
    #expect(node.control.describe(node.now).measurements.isDiskNearlyFull)
    let emptier = node.step(measured(90))
    #expect(emptier.count == 2)
    #expect(!node.control.describe(node.now).measurements.isDiskNearlyFull)
  }
}
