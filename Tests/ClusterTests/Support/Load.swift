import KVClient
import Synchronization

/// What writers asked for and what they were told: the witness against which the nodes are held.
///
/// A key's values are numbered. After a crash a key must have at least the number that was acknowledged, and at most the
/// number that was asked for: a write without an answer may or may not be there.
struct Journal: Sendable {
  struct Entry: Sendable {
    var acknowledged = 0
    var asked = 0
  }

  var entries: [String: Entry] = [:]
  /// Failures by code, for messages.
  var failures: [String: Int] = [:]
  /// Failures that can be neither 7 nor 8 at a shell.
  var oddFailures: [String] = []
  var slowest = Duration.zero

  var acknowledgedCount: Int { entries.values.count { $0.acknowledged > 0 } }

  mutating func merge(_ other: Journal) {
    entries.merge(other.entries) { a, b in
      Entry(acknowledged: max(a.acknowledged, b.acknowledged), asked: max(a.asked, b.asked))
    }
    failures.merge(other.failures, uniquingKeysWith: +)
    oddFailures += other.oddFailures
    slowest = max(slowest, other.slowest)
  }
}

/// The values of the writers: they name their key and number, so that a value of another key is seen too.
enum NumberedValue {
  static func make(_ key: String, _ number: Int, bytes: Int = 200) -> [UInt8] {
    let head = Array("\(key)#\(number)#".utf8)
    return head + [UInt8](repeating: UInt8(ascii: "."), count: max(0, bytes - head.count))
  }

  /// nil: not a value that a writer wrote under this key.
  static func number(of value: [UInt8], key: String) -> Int? {
    let parts = String(decoding: value, as: UTF8.self).split(separator: "#", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == key else { return nil }
    return Int(parts[1])
  }
}

/// Writers that go on until they are stopped. Each writes new keys, and every other time a key of its own once more.
final class Load: Sendable {
  private let isStopped = Atomic(false)
  private let written = Atomic<Int>(0)
  private let task: Mutex<Task<Journal, Never>?>

  init(_ client: KVClient, prefix: String, writers: Int = 24) {
    task = Mutex(nil)
    let task = Task {
      await withTaskGroup(of: Journal.self) { group in
        for writer in 0..<writers { group.addTask { await self.write(client, "\(prefix)-\(writer)") } }
        return await group.reduce(into: Journal()) { $0.merge($1) }
      }
    }
    self.task.withLock { $0 = task }
  }

  /// Acknowledged so far.
  var count: Int { written.load(ordering: .relaxed) }

  func stop() async -> Journal {
    isStopped.store(true, ordering: .relaxed)
    return await task.withLock { $0 }!.value
  }

  private func write(_ client: KVClient, _ name: String) async -> Journal {
    var journal = Journal()
    var step = 0
    while !isStopped.load(ordering: .relaxed) {
      step += 1
      let key = step.isMultiple(of: 2) ? "\(name)-again" : "\(name)-\(step)"
      journal.entries[key, default: .init()].asked = step
      let begin = ContinuousClock.now
      do throws(KVError) {
        try await client.put(key, NumberedValue.make(key, step))
        journal.entries[key]?.acknowledged = step
        written.add(1, ordering: .relaxed)
      } catch {
        journal.failures["\(error.code)/\(error.outcome)", default: 0] += 1
        if error.outcome != .unknown, error.code != .unavailable { journal.oddFailures.append("\(error)") }
        try? await Task.sleep(for: .milliseconds(5))
      }
      journal.slowest = max(journal.slowest, begin.duration(to: .now))
    }
    return journal
  }
}

extension Journal {
  /// Reads every key, and tells which of the acknowledged writes are not there.
  func losses(_ client: KVClient, readers: Int = 48) async throws -> [String] {
    let keys = entries.keys.sorted()
    return try await withThrowingTaskGroup(of: [String].self) { group in
      for reader in 0..<readers {
        group.addTask {
          var losses: [String] = []
          for place in stride(from: reader, to: keys.count, by: readers) {
            if let loss = try await loss(keys[place], client) { losses.append(loss) }
          }
          return losses
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
  }

  private func loss(_ key: String, _ client: KVClient) async throws -> String? {
    guard let entry = entries[key] else { return nil }
    guard let value = try await client.get(key)?.value else {
      return entry.acknowledged == 0 ? nil : "\(key): \(entry.acknowledged) was acknowledged, it is absent"
    }
    guard let number = NumberedValue.number(of: value, key: key) else { return "\(key): a foreign value" }
    if (max(1, entry.acknowledged)...entry.asked).contains(number) { return nil }
    return "\(key): \(entry.acknowledged) was acknowledged, \(entry.asked) asked for, it is \(number)"
  }
}
