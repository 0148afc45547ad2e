import Glibc
import Synchronization

/// A socket of a `LinkRelay`, on loopback. None of its calls blocks, and no child inherits it.
struct RelaySocket {
  private let descriptor: Int32

  private init(_ descriptor: Int32) { self.descriptor = descriptor }

  private static func make() throws -> RelaySocket {
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let descriptor = socket(AF_INET, kind, 0)
    guard descriptor >= 0 else { throw systemError("socket") }
    return RelaySocket(descriptor)
  }

  // MARK: Ends

  /// At a port that the kernel chooses.
  static func listen() throws -> RelaySocket {
    let listener = try make()
    guard listener.with(0, bind) == 0, Glibc.listen(listener.descriptor, 64) == 0 else { throw systemError("listen") }
    return listener
  }

  func port() throws -> UInt16 {
    var address = Loopback.address(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    guard result == 0 else { throw systemError("getsockname") }
    return UInt16(bigEndian: address.sin_port)
  }

  /// nil: nobody waits. Glibc's overlay lacks accept4: see `Pipe.noneIsHalfMade`.
  func accept() -> RelaySocket? {
    Pipe.noneIsHalfMade.withLock { _ in
      let accepted = Glibc.accept(descriptor, nil, nil)
      guard accepted >= 0 else { return nil }
      _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
      _ = fcntl(accepted, F_SETFL, O_NONBLOCK)
      let socket = RelaySocket(accepted)
      socket.sendAtOnce()
      return socket
    }
  }

  /// nil: nobody listens. The connection may come about later.
  static func connect(_ port: UInt16) -> RelaySocket? {
    guard let socket = try? make() else { return nil }
    socket.sendAtOnce()
    if socket.with(port, Glibc.connect) == 0 || errno == EINPROGRESS { return socket }
    socket.close()
    return nil
  }

  private func with(_ port: UInt16, _ call: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var address = Loopback.address(port)
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        call(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  private func sendAtOnce() {
    var isOn: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &isOn, socklen_t(MemoryLayout<Int32>.size))
  }

  func close() { _ = Glibc.close(descriptor) }

  // MARK: Bytes

  /// Nothing to wait for: poll must pass it over, or it would return again and again for one that is broken.
  func polled(_ events: Int16) -> pollfd { pollfd(fd: events == 0 ? -1 : descriptor, events: events, revents: 0) }

  enum Arrival {
    case bytes([UInt8])
    case nothing
    case end
    case broken
  }

  func receive() -> Arrival {
    var count = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: 16 << 10) { buffer, filled in
      count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
      filled = max(0, count)
    }
    if count > 0 { return .bytes(bytes) }
    if count == 0 { return .end }
    return Self.isToTryAgain ? .nothing : .broken
  }

  /// How many were sent; nil: the connection is broken.
  func send(_ bytes: [UInt8]) -> Int? {
    let count = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    if count >= 0 { return count }
    return Self.isToTryAgain ? 0 : nil
  }

  private static var isToTryAgain: Bool { errno == EAGAIN || errno == EINTR }

  func endOutput() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// Deaf, it drops every packet that comes, before TCP sees it: nothing is acknowledged, no end is noticed.
  func setDeaf(_ isDeaf: Bool) {
    // A classic BPF program of one instruction, BPF_RET|BPF_K 0: of every packet keep nothing.
    var instruction = (code: UInt16(0x06), whenTrue: UInt8(0), whenFalse: UInt8(0), keptBytes: UInt32(0))
    let result = withUnsafeMutablePointer(to: &instruction) { pointer in
      var program = (count: UInt16(1), instructions: UnsafeMutableRawPointer(pointer))
      let option = isDeaf ? SO_ATTACH_FILTER : SO_DETACH_FILTER
      return setsockopt(
        descriptor, SOL_SOCKET, option, &program, socklen_t(MemoryLayout.size(ofValue: program)))
    }
    if result != 0 { fatalError("\(systemError("SO_ATTACH_FILTER \(isDeaf)"))") }
  }
}
