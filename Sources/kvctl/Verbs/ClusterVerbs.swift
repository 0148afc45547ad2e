import ArgumentParser
import KVClient
import KVModel

struct ClusterVerbs: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster", abstract: "Forms a cluster.",
    discussion: "Example: kvctl cluster init --endpoints 10.0.0.1:7420,10.0.0.2:7420,10.0.0.3:7420",
    subcommands: [Init.self])

  struct Init: Verb {
    static let configuration = CommandConfiguration(
      commandName: "init", abstract: "Forms a cluster of the nodes at --endpoints.",
      discussion: """
        Every member must be named. A node accepts a cluster once, for ever. Run again after an interruption, it
        finishes what it began; run on a formed cluster, it changes nothing.

        Example: kvctl cluster init --endpoints 10.0.0.1:7420,10.0.0.2:7420,10.0.0.3:7420
        """)

    @OptionGroup var global: GlobalOptions

    func execute(_ session: Session) async throws(CommandFailure) -> Report {
      let candidates = try await candidates(session)
      let plan: Formation
      do throws(Objections) {
        plan = try Formation.plan(candidates, cluster: ClusterID(UInt64.random(in: 1...UInt64.max)))
      } catch { return refusal(error) }
      switch plan {
      case .formed(let layout): return report(layout, "the cluster is formed already; nothing was changed")
      case .form(let layout, let missing, let isFinishing):
        for line in preview(layout, isFinishing) { session.say(line) }
        if !session.isYes, Terminal.isInput, !Terminal.confirm("Form this cluster?") {
          throw CommandFailure(.error, "declined", "nothing was formed")
        }
        try await form(layout, missing, session)
        var report = report(layout, "formed")
        if await !awaitService(missing, session) {
          session.say("not every node serves yet; see 'kvctl status' and the nodes' logs")
          report.exit = .degraded
        }
        return report
      }
    }

    private func candidates(_ session: Session) async throws(CommandFailure) -> [Formation.Candidate] {
      let answers = await Survey.describe(session.endpoints, session, session.timeout)
      let survey = Survey(answers: answers)
      guard survey.failures.isEmpty else {
        var failure = survey.failures[0]
        let silent = survey.failures.compactMap(\.node).joined(separator: ", ")
        failure.message = "every member must answer before a cluster is formed; \(silent) did not: \(failure.message)"
        throw failure
      }
      var candidates: [Formation.Candidate] = []
      for (address, description) in survey.descriptions {
        let layout = description.layoutVersion == 0 ? nil : try? await session.admin.fetchLayout(address).0
        candidates.append(.init(address: address, description: description, layout: layout))
      }
      return candidates
    }

    private func refusal(_ objections: Objections) -> Report {
      var report = Report(.null)
      report.failures = objections.all.map { CommandFailure(.refusedAsUnsafe, "refused", $0) }
      report.exit = .refusedAsUnsafe
      return report
    }

    private func form(_ layout: Layout, _ missing: [Address], _ session: Session) async throws(CommandFailure) {
      var secret = ClusterSecret(low: .random(in: 1...UInt64.max), high: .random(in: 0...UInt64.max))
      for address in session.endpoints {
        let known = try await asking(node: address.description) { () throws(KVError) in
          try await session.admin.reserveCluster(layout.cluster, at: address)
        }
        if let known { secret = known }
      }
      for (place, address) in missing.enumerated() {
        do throws(KVError) { try await session.admin.formCluster(layout, secret, at: address) } catch {
          var failure = CommandFailure(error, node: address.description)
          failure.message += "; \(place) of \(missing.count) nodes were formed: run the same command again to finish"
          throw failure
        }
      }
    }

    /// Returns when every node serves, or false when the time is up: the cluster is formed either way.
    private func awaitService(_ addresses: [Address], _ session: Session) async -> Bool {
      let end = ContinuousClock.now.advanced(by: session.timeout)
      while ContinuousClock.now < end {
        let survey = Survey(answers: await Survey.describe(addresses, session, .seconds(1)))
        let serving = survey.descriptions.count { $0.1.state == .serving }
        if serving == addresses.count { return true }
        do { try await Task.sleep(for: .milliseconds(50)) } catch { return false }
      }
      return false
    }

    private func preview(_ layout: Layout, _ isFinishing: Bool) -> [String] {
      var table = Table(["NODE", "ID", "ZONE", "HOST", "WEIGHT", "CLIENTS AT", "PEERS AT"])
      table.rows = layout.members.map {
        [
          $0.name, $0.id.description, $0.zone.isEmpty ? "-" : $0.zone, $0.host,
          JSON.fixed(Double($0.weight) / 100, digits: 1), $0.clientAddress.description, $0.peerAddress.description,
        ]
      }
      table.rows.sort { $0[0] < $1[0] }
      let settings = layout.settings
      let hosts = Set(layout.members.map(\.host)).count
      var lines = [
        "\(isFinishing ? "finishing" : "forming") cluster \(settings.name) (\(layout.cluster)): "
          + "\(Units.count(settings.partitions)) partitions, N=\(settings.replication) R=\(settings.readQuorum) "
          + "W=\(settings.writeQuorum)"
      ]
      if hosts < settings.replication {
        lines.append("note: \(hosts) hosts hold \(hosts) copies of a key, not \(settings.replication)")
      }
      return lines + table.lines()
    }

    private func report(_ layout: Layout, _ word: String) -> Report {
      var report = Report(
        .object([
          ("cluster", .text(layout.cluster.description)), ("name", .text(layout.settings.name)),
          ("layout", .integer(Int64(layout.version))), ("members", .array(layout.members.map { .text($0.name) })),
          ("result", .text(word)),
        ]))
      report.lines = [
        "cluster \(layout.settings.name) (\(layout.cluster)) of \(Units.plural(layout.members.count, "node")): \(word)"
      ]
      return report
    }
  }
}
