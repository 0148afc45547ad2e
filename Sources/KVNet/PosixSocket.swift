import CLinux
import Glibc

/// The calls that make and shape sockets.
extension Posix {
  /// A non-blocking, close-on-exec TCP socket.
  static func makeSocket(_ address: SocketAddress) throws(SystemError) -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    return try check("socket") { socket(address.family, type, Int32(IPPROTO_TCP)) }
  }

  static func set(_ descriptor: Int32, level: Int32, _ option: Int32, _ value: Int32) throws(SystemError) {
    var value = value
    try check("setsockopt") { setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size)) }
  }

  /// The error that waits on a socket, and forgets it: the outcome of a non-blocking connect.
  static func pendingError(_ descriptor: Int32) -> Int32 {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &value, &length) == 0 else { return Glibc.errno }
    return value
  }

  /// Listens on `address`; a port of 0 lets the kernel choose.
  static func listen(on address: SocketAddress, backlog: Int32) throws(SystemError) -> Int32 {
    let descriptor = try makeSocket(address)
    do throws(SystemError) {
      try set(descriptor, level: SOL_SOCKET, SO_REUSEADDR, 1)
      if address.isV6 { try set(descriptor, level: Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
      try check("bind") { address.withSockaddr { Glibc.bind(descriptor, $0, $1) } }
      try check("listen") { Glibc.listen(descriptor, backlog) }
      return descriptor
    } catch {
      close(descriptor)
      throw error
    }
  }

  /// Starts a connect. True: it is already there; false: wait until the socket is writable, then ask `pendingError`.
  static func connect(_ descriptor: Int32, to address: SocketAddress) throws(SystemError) -> Bool {
    // Not retried after EINTR: the connect goes on by itself, and a second call would answer EALREADY.
    let result = address.withSockaddr { Glibc.connect(descriptor, $0, $1) }
    if result == 0 { return true }
    let reason = Glibc.errno
    if reason == EINPROGRESS || reason == EINTR { return false }
    throw SystemError(call: "connect", errno: reason)
  }

  /// One waiting connection, non-blocking and close-on-exec; nil when none waits.
  static func accept(_ listener: Int32) throws(SystemError) -> (descriptor: Int32, peer: SocketAddress)? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let descriptor = retrying {
      withUnsafeMutablePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept4(listener, $0, &length, flags) }
      }
    }
    if descriptor >= 0 { return (descriptor, SocketAddress(storage) ?? .unspecified) }
    let reason = Glibc.errno
    if reason == EAGAIN || reason == EWOULDBLOCK { return nil }
    throw SystemError(call: "accept4", errno: reason)
  }

  /// The address that a socket is bound to.
  static func localAddress(_ descriptor: Int32) throws(SystemError) -> SocketAddress {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    try check("getsockname") {
      withUnsafeMutablePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
      }
    }
    return SocketAddress(storage) ?? .unspecified
  }

  /// Tells the peer that nothing more will come; it may still send.
  static func finishSending(_ descriptor: Int32) {
    _ = shutdown(descriptor, Int32(SHUT_WR))
  }
}
