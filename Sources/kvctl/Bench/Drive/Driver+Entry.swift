import KVNet

/// What is asked of a driver from outside of its loop.
extension Driver {
  /// Makes the lanes.
  func connect() async -> BenchReach {
    await withCheckedContinuation { continuation in
      loop.execute {
        self.connected = { continuation.resume(returning: $0) }
        self.open()
      }
    }
  }

  /// Runs a stage to its end.
  func perform(_ stage: BenchStage) async -> BenchTally {
    await withCheckedContinuation { continuation in
      loop.execute {
        self.ended = { continuation.resume(returning: $0) }
        self.begin(stage)
      }
    }
  }

  private func begin(_ stage: BenchStage) {
    progress = BenchProgress()
    // Who is still waiting for an answer from the stage before joins when it comes.
    free = users.indices.filter { !users[$0].isBusy }
    paused = []
    run = StageRun(stage, number: options.number, of: options.drivers)
    if let rate = run?.pacer.rate { beginPacing(rate) }
    pump(BenchClock.now())
  }

  func progress(resetting: Bool) async -> BenchProgress {
    await withCheckedContinuation { continuation in
      loop.execute {
        var progress = self.progress
        progress.backlog = self.run?.pacer.backlog(at: BenchClock.now()) ?? 0
        if resetting { self.progress.latencies.reset() }
        continuation.resume(returning: progress)
      }
    }
  }

  /// Ends the stage now, with what it has come to.
  func cancel() {
    loop.execute { self.finish(BenchClock.now()) }
  }

  func stop() async {
    await withCheckedContinuation { continuation in
      loop.execute {
        self.close()
        self.loop.stop { continuation.resume() }
      }
    }
  }
}
