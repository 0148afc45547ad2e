extension KVStore {
  /// Reads many keys, up to `concurrency` at a time; what was found of each, in the order of `keys`.
  ///
  /// One that fails leaves the others alone: each has a result of its own. `deadline` is for each key's read. When the
  /// task is cancelled, what was not read yet fails with `cancelled`.
  public func getMany(
    _ keys: [some KVKeyConvertible], consistency: KVConsistency = .quorum, concurrency: Int = 64,
    deadline: Duration? = nil
  ) async -> [Result<KVRead?, KVError>] {
    let keys = keys.map(\.kvKey)
    var results = [Found](repeating: .failure(KVError(.cancelled, "the task was cancelled")), count: keys.count)
    // Results are a plain enum: a task group whose child tasks throw typed errors does not survive this compiler.
    await withTaskGroup(of: (Int, Found).self) { group in
      func add(_ place: Int) {
        let key = keys[place]
        group.addTask { (place, await find(key, consistency, deadline)) }
      }
      var next = min(max(1, concurrency), keys.count)
      for place in 0..<next { add(place) }
      for await (place, found) in group {
        results[place] = found
        if next < keys.count, !Task.isCancelled {
          add(next)
          next += 1
        }
      }
    }
    return results.map { found in
      switch found {
      case .success(let read): .success(read)
      case .failure(let error): .failure(error)
      }
    }
  }

  private func find(_ key: KVKey, _ consistency: KVConsistency, _ deadline: Duration?) async -> Found {
    do throws(KVError) {
      return .success(try await get(key, consistency: consistency, deadline: deadline))
    } catch { return .failure(error) }
  }
}

private enum Found: Sendable {
  case success(KVRead?)
  case failure(KVError)
}
