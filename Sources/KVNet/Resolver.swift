import CLinux
import Dispatch
import Glibc

/// Why a host name has no address: `getaddrinfo`'s code and its words.
public struct ResolveError: Error, Equatable, Sendable, CustomStringConvertible {
  public let host: String
  /// One of `EAI_…`.
  public let code: Int32
  public let reason: String

  public var description: String { "\(host): \(reason)" }
}

/// Names to addresses. `getaddrinfo` may wait for a name server for many seconds, so it runs on one background queue,
/// never on a loop and never on Dispatch's shared pool; numeric addresses need no server and skip the queue.
enum Resolver {
  private static let queue = DispatchQueue(label: "ringkv.resolver")

  static func resolve(
    host: String, port: UInt16, on loop: EventLoop,
    _ completion: @escaping @Sendable (Result<[SocketAddress], ResolveError>) -> Void
  ) {
    if let address = SocketAddress(numericHost: host, port: port) {
      loop.execute { completion(.success([address])) }
      return
    }
    queue.async {
      let result = Result { () throws(ResolveError) in try lookUp(host: host, port: port, numericOnly: false) }
      loop.execute { completion(result) }
    }
  }

  /// Blocks unless `numericOnly`. Never answers an empty list.
  static func lookUp(host: String, port: UInt16, numericOnly: Bool) throws(ResolveError) -> [SocketAddress] {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV | (numericOnly ? AI_NUMERICHOST : 0)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, String(port), &hints, &list)
    defer { if let list { freeaddrinfo(list) } }
    guard code == 0 else {
      throw ResolveError(host: host, code: code, reason: String(cString: gai_strerror(code)))
    }
    var found: [SocketAddress] = []
    var next = list
    while let entry = next {
      if let raw = entry.pointee.ai_addr, let address = SocketAddress(reading: UnsafeRawPointer(raw)),
        !found.contains(address)
      {
        found.append(address)
      }
      next = entry.pointee.ai_next
    }
    guard !found.isEmpty else { throw ResolveError(host: host, code: EAI_NONAME, reason: "no usable address") }
    return found
  }
}

extension SocketAddress {
  /// Finds the addresses of a name, in the order to try them, and completes on `loop`. A numeric address asks nobody.
  /// Has no deadline of its own: the caller's timer decides when to give up, and a late answer must be harmless.
  public static func resolve(
    host: String, port: UInt16, on loop: EventLoop,
    _ completion: @escaping @Sendable (Result<[SocketAddress], ResolveError>) -> Void
  ) {
    Resolver.resolve(host: host, port: port, on: loop, completion)
  }

  /// The same, blocking: for programs that are starting, never for a loop.
  public static func resolveBlocking(host: String, port: UInt16) throws(ResolveError) -> [SocketAddress] {
    try Resolver.lookUp(host: host, port: port, numericOnly: false)
  }
}
