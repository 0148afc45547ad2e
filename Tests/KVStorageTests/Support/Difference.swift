import KVCore
import KVModel

extension StorageSnapshot {
  /// The first thing in which this differs from `model`, in words; nil when they are equal in every byte.
  func difference(from model: StorageSnapshot) -> String? {
    if self == model { return nil }
    return Self.difference("record", records, model.records)
      ?? Self.difference("leaf", leaves, model.leaves)
      ?? Self.difference("expiry", expiries, model.expiries)
      ?? Self.difference("request", requests, model.requests)
      ?? "lease \(String(describing: lease)), not \(String(describing: model.lease))"
  }

  private static func difference<T: Equatable>(_ what: String, _ found: [T], _ model: [T]) -> String? {
    if found == model { return nil }
    let extra = found.filter { !model.contains($0) }
    let missing = model.filter { !found.contains($0) }
    return "\(what): \(found.count), not \(model.count); too many: \(extra.prefix(2)), missing: \(missing.prefix(2))"
  }
}
