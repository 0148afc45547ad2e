import Dispatch
import Glibc
import KVModel
import KVServer
import Logging

nonisolated func run() {
  var options: [String: String] = [:]
  var arguments = CommandLine.arguments.dropFirst()
  while let name = arguments.popFirst() { options[name] = arguments.popFirst() }
  let configuration = NodeConfiguration(
    name: options["--name"]!, dataDirectory: options["--data"]!, clientListen: Address(options["--client-listen"]!)!,
    peerListen: Address(options["--peer-listen"]!)!, adminListen: Address(options["--admin-listen"]!)!)
  let logger = Logger(label: "kvnode")
  let final = configuration
  Task {
    do {
      let server = try NodeServer(configuration: final, logger: logger) { reason in
        print("halt: \(reason)")
        exit(1)
      }
      try await server.start()
      signal(SIGTERM, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: SIGTERM, queue: .global())
      let stream = AsyncStream<Void> { continuation in
        source.setEventHandler { continuation.yield() }
        source.activate()
      }
      for await _ in stream { break }
      await server.stop()
      exit(0)
    } catch {
      print("cannot start: \(error)")
      exit(1)
    }
  }
  dispatchMain()
}
run()
