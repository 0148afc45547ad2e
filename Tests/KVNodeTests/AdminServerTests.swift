import Glibc
import KVModel
import Logging
import Testing

@testable import KVServer

@Suite struct AdminServerTests {
  /// However little time this process gets, nobody is cut off for being slow.
  private static let patient: NodeConfiguration.Limits = {
    var limits = NodeConfiguration.Limits()
    limits.adminTimeoutMs = 600_000
    return limits
  }()

  private func server(
    _ readiness: Readiness = .ready(), port: UInt16 = 0, limits: NodeConfiguration.Limits = AdminServerTests.patient
  ) -> AdminServer {
    AdminServer(
      listen: Address(host: "127.0.0.1", port: port), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
      limits: limits, metrics: { NodeMetrics(name: "n1", zone: "a") }, readiness: { readiness })
  }

  /// Sends `request` and reads until the server closes.
  private func ask(_ port: UInt16, _ request: String) async -> String {
    await withCheckedContinuation { continuation in
      // Blocks, so it has a thread of its own.
      onThread { continuation.resume(returning: exchange(port, Array(request.utf8))) }
    }
  }

  @Test func `the three pages answer, what else is asked for is not there, and each reply closes`() async throws {
    let admin = server(.notReady("no cluster"))
    let port = try await admin.start()
    func get(_ path: String) async -> String { await ask(port, "GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n") }
    #expect(await get("/healthz").hasPrefix("HTTP/1.1 200 "))
    #expect(await get("/readyz").hasPrefix("HTTP/1.1 503 "))
    #expect(await get("/readyz").hasSuffix("not ready: no cluster\n"))
    let metrics = await get("/metrics?x=y")
    #expect(metrics.contains("kvnode_build_info{version=") && metrics.contains("text/plain; version=0.0.4"))
    #expect(metrics.contains("Connection: close"))
    #expect(await get("/").hasPrefix("HTTP/1.1 404 "))
    #expect(await get("/metrics/../healthz").hasPrefix("HTTP/1.1 "))
    #expect(await ask(port, "POST /metrics HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi").hasPrefix("HTTP/1.1 405 "))
    await admin.stop()
  }

  @Test(arguments: [
    ("\r\n\r\n", "400"), ("GET\r\n\r\n", "400"), ("\u{0}\u{1}\u{2}\n\n", "400"), ("GET /healthz\r\n\r\n", "400"),
    ("GET http://x/ HTTP/1.1\r\n\r\n", "400"), ("PUT /metrics HTTP/1.1\n\n", "405"),
    ("POST /healthz HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nhalf a body", "405"),
  ])
  func `a malformed request is answered and ended`(request: String, status: String) async throws {
    let admin = server()
    let port = try await admin.start()
    #expect(await ask(port, request).hasPrefix("HTTP/1.1 \(status) "))
    #expect(await ask(port, "GET /readyz HTTP/1.1\r\n\r\n").hasSuffix("\r\n\r\nready\n"))
    await admin.stop()
  }

  @Test func `half a request that ends is closed without a word`() async throws {
    let admin = server()
    let port = try await admin.start()
    #expect(await ask(port, "GET /healthz HTTP/1.1\r\nHost: x\r\n").isEmpty)
    await admin.stop()
  }

  @Test func `a header of 9 KiB is refused, and one of 20 MiB is not kept`() async throws {
    let admin = server()
    let port = try await admin.start()
    let large = "GET /healthz HTTP/1.1\r\nX: " + String(repeating: "x", count: 9 << 10)
    #expect(await ask(port, large).hasPrefix("HTTP/1.1 431 "))
    _ = await ask(port, large + String(repeating: "x", count: 20 << 20))
    #expect(await ask(port, "GET /healthz HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 200 "))
    await admin.stop()
  }

  @Test func `silent clients are cut off, and while there are too many a further one is turned away`() async throws {
    var limits = NodeConfiguration.Limits()
    limits.adminTimeoutMs = 200
    let admin = server(limits: limits)
    let port = try await admin.start()
    let silent = (0..<limits.adminConnections).map { _ in connected(port) }
    #expect(await ask(port, "GET /healthz HTTP/1.1\r\n\r\n").isEmpty)
    // Each read ends when the server has cut its connection off.
    for descriptor in silent {
      await withCheckedContinuation { continuation in
        onThread {
          var byte: UInt8 = 0
          _ = read(descriptor, &byte, 1)
          close(descriptor)
          continuation.resume()
        }
      }
    }
    #expect(await ask(port, "GET /healthz HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 200 "))
    await admin.stop()
  }

  @Test func `a port that is taken is told with the remedy`() async throws {
    let first = server()
    let port = try await first.start()
    let second = server(port: port)
    let error = await #expect(throws: AdminServerError.self) { try await second.start() }
    #expect(error?.description.contains("127.0.0.1:\(port)") == true)
    #expect(error?.description.contains("--admin-listen") == true)
    await first.stop()
  }
}

private func onThread(_ body: @escaping @Sendable () -> Void) {
  var thread = pthread_t()
  let context = Unmanaged.passRetained(ThreadBody(body))
  let failure = pthread_create(
    &thread, nil,
    { raw in
      raw.map { Unmanaged<ThreadBody>.fromOpaque($0).takeRetainedValue().run() }
      return nil
    }, context.toOpaque())
  if failure == 0 { pthread_detach(thread) } else { context.takeRetainedValue().run() }
}

private final class ThreadBody: Sendable {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

private func connected(_ port: UInt16) -> Int32 {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  _ = withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
  return descriptor
}

/// Empty when the server says nothing, or resets.
private func exchange(_ port: UInt16, _ request: [UInt8]) -> String {
  let descriptor = connected(port)
  defer { close(descriptor) }
  var sent = 0
  while sent < request.count {
    let count = request[sent...].withUnsafeBytes {
      send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    }
    if count <= 0 { break }
    sent += count
  }
  // Nothing more comes: a server that waits for more sees the end.
  shutdown(descriptor, Int32(SHUT_WR))
  var reply: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = read(descriptor, &buffer, buffer.count)
    if count <= 0 { break }
    reply.append(contentsOf: buffer[..<count])
  }
  return String(decoding: reply, as: UTF8.self)
}
