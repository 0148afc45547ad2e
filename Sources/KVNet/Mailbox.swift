import Glibc

/// Jobs from other threads for one loop, under a lock, with the loop's state beside them.
///
/// Whoever finds the loop asleep wakes it, once; while it is awake it looks into the mailbox before it sleeps again, so
/// nobody has to write to its eventfd. Thus a burst of jobs costs one system call, or none.
final class Mailbox: @unchecked Sendable {
  enum Job {
    case closure(@Sendable () -> Void)
    case task(UnownedJob)
  }

  private enum State {
    case awake
    case asleep
    case retired
  }

  /// What the caller of `post` has to do.
  enum Duty {
    case nothing
    case wake
    /// The loop is no more: run the jobs elsewhere.
    case run
  }

  private let lock: UnsafeMutablePointer<pthread_mutex_t>
  private var jobs: [Job] = []
  private var state = State.asleep

  init() {
    lock = .allocate(capacity: 1)
    lock.initialize(to: pthread_mutex_t())
    pthread_mutex_init(lock, nil)
  }

  deinit {
    pthread_mutex_destroy(lock)
    lock.deallocate()
  }

  private func locked<Result>(_ body: () -> Result) -> Result {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    return body()
  }

  func post(_ job: Job) -> Duty {
    locked {
      jobs.append(job)
      switch state {
      case .awake: return .nothing
      case .retired: return .run
      case .asleep:
        state = .awake
        return .wake
      }
    }
  }

  /// The loop is about to sleep. False: it must not, jobs are waiting.
  func sleepIfEmpty() -> Bool {
    locked {
      state = jobs.isEmpty ? .asleep : .awake
      return jobs.isEmpty
    }
  }

  /// The loop is awake: hands it all jobs in exchange for an empty array, whose capacity is used again.
  func take(into empty: inout [Job]) {
    locked {
      if state == .asleep { state = .awake }
      if !jobs.isEmpty { swap(&jobs, &empty) }
    }
  }

  /// From now on every `post` answers `.run`.
  func retire() {
    locked { state = .retired }
  }
}
