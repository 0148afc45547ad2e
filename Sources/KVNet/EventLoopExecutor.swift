import Dispatch

/// Async code on the loop: `Task(executorPreference: loop) { … }`, or an actor whose `unownedExecutor` is the loop.
///
/// For the control plane only. A task costs 1–2.4 µs of CPU, so what happens per request is a struct in a slot array.
extension EventLoop: TaskExecutor, SerialExecutor {
  public func enqueue(_ job: consuming ExecutorJob) {
    post(.task(UnownedJob(job)))
  }

  public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
    UnownedSerialExecutor(ordinary: self)
  }

  public func checkIsolated() {
    dispatchPrecondition(condition: .onQueue(queue))
  }

  func runTask(_ job: UnownedJob) {
    job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
  }
}
