import KVClient
import KVModel
import KVNet

/// Makes the engine of a plan: finds the nodes, and what it takes to talk to them.
enum BenchTargets {
  static func engine(_ plan: BenchPlan, _ session: Session) async throws(CommandFailure) -> any BenchEngine {
    switch (plan.target, plan.through) {
    case (.resp(let address), _): return try resp(address, plan, session)
    case (.cluster, .raw): return try await ringKV(plan, session)
    case (.cluster, .client):
      return ClientLoad(
        session.client,
        ClientLoad.Options(
          users: plan.clients * plan.pipeline, keySize: plan.keySize, values: values(plan),
          consistency: plan.consistency, timeout: session.timeout, seed: plan.seed))
    }
  }

  private static func resp(
    _ address: Address, _ plan: BenchPlan, _ session: Session
  ) throws(CommandFailure) -> any BenchEngine {
    let node = ("\(address)", try resolve(address))
    let options = options(plan, session, [node], .single, .batch)
    return try made { () throws(SystemError) in try Fleet(options, drivers: plan.loops) { RESPWire() } }
  }

  private static func ringKV(_ plan: BenchPlan, _ session: Session) async throws(CommandFailure) -> any BenchEngine {
    let (layout, table) = try await asking { () throws(KVError) in try await session.admin.fetchLayout() }
    var nodes: [(name: String, addresses: [SocketAddress])] = []
    for member in layout.members { nodes.append((member.name, try resolve(member.clientAddress))) }
    var random = SystemRandomNumberGenerator()
    let terms = RingKVWire.Terms(
      quorum: quorum(plan.consistency), cluster: layout.cluster, layoutVersion: layout.version,
      partitionBits: table.partitionBits, client: random.next(),
      keepsContexts: plan.workload.mix.readModifyWrite > 0)
    let options = options(plan, session, nodes, .ring(table), .each)
    return try made { () throws(SystemError) in try Fleet(options, drivers: plan.loops) { RingKVWire(terms) } }
  }

  private static func options(
    _ plan: BenchPlan, _ session: Session, _ nodes: [(name: String, addresses: [SocketAddress])], _ router: Router,
    _ refill: LanePool.Refill
  ) -> Driver.Options {
    Driver.Options(
      nodes: nodes, router: router, lanes: plan.clients, depth: plan.pipeline, refill: refill, keySize: plan.keySize,
      values: values(plan), timeoutNs: UInt64(max(1, session.timeout / .nanoseconds(1))),
      connectLimitNs: UInt64(min(session.timeout, .seconds(5)) / .nanoseconds(1)), number: 0, drivers: 1,
      seed: plan.seed)
  }

  private static func values(_ plan: BenchPlan) -> ValuePool { ValuePool(valueSize: plan.valueSize, seed: plan.seed) }

  private static func quorum(_ consistency: KVConsistency) -> Quorum {
    switch consistency {
    case .one: .owners(1)
    case .all: .all
    case .quorum: .quorum
    case .owners(let count): .owners(UInt8(clamping: count))
    }
  }

  private static func resolve(_ address: Address) throws(CommandFailure) -> [SocketAddress] {
    do { return try SocketAddress.resolveBlocking(host: address.host, port: address.port) } catch {
      throw CommandFailure(.cannotConnect, "unreachable", "\(error)")
    }
  }

  private static func made<Engine>(_ make: () throws(SystemError) -> Engine) throws(CommandFailure) -> Engine {
    do { return try make() } catch {
      throw CommandFailure(.error, "no_event_loop", "no event loop could be made: \(error.reason)")
    }
  }
}
