import Dispatch
import Foundation
import KVClient
import KVModel
import Logging
import Synchronization

/// A load from its first connection to its final reads.
enum LoadRun {
  static func perform(_ verb: LoadVerb) async throws -> LoadSummary {
    let stores = LoadStores(verb.endpoints.split(separator: ",").map(String.init))
    return try await stores.running {
      let plan = LoadPlan(verb, try await stores.settings())
      let journal = try LoadJournal(path: verb.history, plan.head)
      let stop = StopSignal.watch()
      let began = LoadJournal.now
      let progress = Task { await LoadProgress.show(journal, since: began) }
      await load(plan, stores, journal, stop.signal)
      while let hold = plan.hold, FileManager.default.fileExists(atPath: hold), !stop.signal.isSet {
        try await Task.sleep(for: .milliseconds(50))
      }
      let read = stop.signal.isSet ? 0 : await finalReads(plan, stores, journal, stop.signal)
      progress.cancel()
      await progress.value
      for source in stop.sources { source.cancel() }
      do { try journal.close() } catch { throw LoadFailure("cannot write \(verb.history): \(error)") }
      return LoadSummary(
        plan: plan, history: verb.history, seconds: Double(LoadJournal.now - began) / 1e9, counts: journal.counts,
        finalReads: read, wasStopped: stop.signal.isSet)
    }
  }

  private static func load(_ plan: LoadPlan, _ stores: LoadStores, _ journal: LoadJournal, _ stop: StopSignal) async {
    let end = LoadJournal.now + UInt64(plan.seconds) * 1_000_000_000
    var prng = PRNG(seed: plan.seed)
    await withTaskGroup(of: Void.self) { group in
      for number in 0..<plan.clients {
        var client = LoadClient(number, store: stores.store(of: number), plan, journal, prng.fork())
        group.addTask { await client.run { stop.isSet || LoadJournal.now >= end || journal.failure != nil } }
      }
    }
  }

  /// Reads every key from all of its owners, again until they answer; returns how many did.
  private static func finalReads(
    _ plan: LoadPlan, _ stores: LoadStores, _ journal: LoadJournal, _ stop: StopSignal
  ) async -> Int {
    let end = LoadJournal.now + UInt64(plan.finalSeconds) * 1_000_000_000
    let readers = min(8, plan.keys.count)
    return await withTaskGroup(of: Int.self) { group in
      for reader in 0..<readers {
        group.addTask {
          var client = LoadClient(
            plan.clients + reader, store: stores.routed, plan, journal, PRNG(seed: plan.seed &+ UInt64(reader)))
          var read = 0
          for key in stride(from: reader, to: plan.keys.count, by: readers) {
            var isRead = false
            while !isRead, LoadJournal.now < end, !stop.isSet {
              isRead = await client.get(key, .all)
              if !isRead { try? await Task.sleep(for: .milliseconds(100)) }
            }
            if isRead { read += 1 }
          }
          return read
        }
      }
      return await group.reduce(0, +)
    }
  }
}

/// The clients of the store that the clients of a load share.
struct LoadStores: Sendable {
  /// Goes to the owners of keys.
  let routed: KVClient
  /// One for each endpoint, which has that node alone coordinate.
  let pinned: [KVClient]

  init(_ endpoints: [String]) {
    let logger = Logger(label: "kvsim") { _ in SwiftLogNoOpLogHandler() }
    var configuration = KVClientConfiguration(endpoints: endpoints)
    configuration.agent = "kvsim/1"
    routed = KVClient(configuration, logger: logger)
    configuration.followsLayout = false
    pinned = endpoints.map { endpoint in
      configuration.endpoints = [endpoint]
      return KVClient(configuration, logger: logger)
    }
  }

  func store(of number: Int) -> KVClient {
    number.isMultiple(of: 2) ? routed : pinned[number / 2 % pinned.count]
  }

  func running<Result: Sendable>(_ body: @Sendable () async throws -> Result) async throws -> Result {
    // Before the first call, however busy the machine: `run()` in a task of its own may come late.
    for store in [routed] + pinned { await store.start() }
    do {
      let result = try await body()
      await stop()
      return result
    } catch {
      await stop()
      throw error
    }
  }

  private func stop() async { for store in [routed] + pinned { await store.stop() } }

  func settings() async throws(LoadFailure) -> ClusterSettings {
    do { return try await routed.admin.fetchLayout(deadline: .seconds(30)).0.settings } catch {
      throw LoadFailure("no cluster answers: \(error)")
    }
  }
}

/// Set by SIGTERM and Ctrl-C.
final class StopSignal: Sendable {
  private let seen = Atomic(false)

  var isSet: Bool { seen.load(ordering: .relaxed) }

  /// Not on an actor: Dispatch runs the handlers on its own queue.
  nonisolated static func watch() -> (signal: StopSignal, sources: [any DispatchSourceSignal]) {
    let stop = StopSignal()
    let queue = DispatchQueue(label: "kvsim.signals")
    let sources = [SIGTERM, SIGINT].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler { stop.seen.store(true, ordering: .relaxed) }
      source.activate()
      return source
    }
    return (stop, sources)
  }
}
