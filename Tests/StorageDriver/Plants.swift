import Glibc
import KVCore
import KVModel
import KVStorage

/// A fault that is planted before a good store: what checks stores must find each.
public enum Plant: String, CaseIterable, Sendable {
  /// Says `.synced` when the join is known.
  case acknowledgesEarly
  /// Says `.synced` at once for a merge that changed nothing, whatever it joined onto.
  case acknowledgesUnchanged
  /// Answers reads with joins that are not synced.
  case showsUnsynced
  /// Answers reads after the merges that came behind them.
  case overtakesReads
  /// Finds no request id.
  case forgetsRequests
  /// Asks for a failed sync once more, HAZARDS.md row 37: the kernel has marked the lost pages clean, and what
  /// "succeeded" is acknowledged.
  case retriesSyncs
}

/// A good store behind a planted fault.
public final class PlantedStorage: ShardStorage {
  private let plant: Plant
  /// Asked each time: a rig replaces its store when it crashes.
  private let inner: () -> any ShardStorage
  private var shown: [Key: EncodedRecord] = [:]
  private var keys: [StorageID: Key] = [:]
  private var early: Set<StorageID> = []
  private var held: [(StorageOperation, StorageID)] = []
  private var failed: StorageID?

  public init(_ plant: Plant, before inner: @escaping () -> any ShardStorage) {
    self.plant = plant
    self.inner = inner
  }

  public func submit(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion]) {
    keys[id] = operation.key
    switch (plant, operation) {
    case (.showsUnsynced, .read(let key)) where shown[key] != nil:
      results.append(StorageCompletion(id: id, result: .record(shown[key] ?? .empty)))
    case (.overtakesReads, .read): held.append((operation, id))
    case (.forgetsRequests, .findRequest): results.append(StorageCompletion(id: id, result: .request(seen: false)))
    case (.retriesSyncs, .merge) where failed != nil: results.append(StorageCompletion(id: id, result: .synced))
    default: pass(&results) { inner().submit(operation, id: id, results: &$0) }
    }
  }

  public func endTurn(results: inout [StorageCompletion]) { pass(&results) { inner().endTurn(results: &$0) } }

  public func collect(results: inout [StorageCompletion]) {
    pass(&results) { inner().collect(results: &$0) }
    for (operation, id) in held { inner().submit(operation, id: id, results: &results) }
    held = []
  }

  private func pass(_ results: inout [StorageCompletion], _ body: (inout [StorageCompletion]) -> Void) {
    var own: [StorageCompletion] = []
    body(&own)
    for completion in own {
      switch completion.result {
      case .merged(let merged):
        results.append(completion)
        onMerged(merged, completion.id, &results)
      case .synced where early.contains(completion.id): break
      case .failed(let fault) where plant == .retriesSyncs && syncAgain(fault.path):
        failed = completion.id
        results.append(StorageCompletion(id: completion.id, result: .synced))
      case .synced, .record, .unreadable, .refused, .leased, .request, .digests, .listed, .hints, .census, .expired,
        .rescanned, .incomplete, .gaps, .scrubbed, .failed:
        results.append(completion)
      }
    }
  }

  private func onMerged(_ merged: Merged, _ id: StorageID, _ results: inout [StorageCompletion]) {
    guard let key = keys[id] else { return }
    let isUnchanged = shown.updateValue(merged.record, forKey: key) == merged.record
    guard plant == .acknowledgesEarly || (plant == .acknowledgesUnchanged && isUnchanged) else { return }
    early.insert(id)
    results.append(StorageCompletion(id: id, result: .synced))
  }

  /// True where there is no such file: the store has no disk.
  private func syncAgain(_ path: String) -> Bool {
    let descriptor = open(path, O_RDWR)
    guard descriptor >= 0 else { return true }
    defer { close(descriptor) }
    return fdatasync(descriptor) == 0
  }
}
