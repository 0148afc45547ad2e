import Glibc

/// An IPv4 or IPv6 address with a port.
///
/// Kept as plain integers, so that it is hashable, comparable bit for bit and 32 bytes; it becomes a `sockaddr` only
/// for the length of a system call.
public struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
  /// The address in network order: all sixteen bytes of v6, or the last four of `low` for v4.
  private let high: UInt64
  private let low: UInt64
  private let scope: UInt32
  public let port: UInt16
  public let isV6: Bool

  private init(high: UInt64, low: UInt64, scope: UInt32, port: UInt16, isV6: Bool) {
    self.high = high
    self.low = low
    self.scope = scope
    self.port = port
    self.isV6 = isV6
  }

  /// 0.0.0.0:0
  public static let unspecified = SocketAddress(v4: 0, port: 0)

  /// 127.0.0.1; a port of 0 lets the kernel choose when listening.
  public static func loopback(port: UInt16) -> SocketAddress {
    SocketAddress(v4: 0x7f00_0001, port: port)
  }

  /// ::1
  public static func loopbackV6(port: UInt16) -> SocketAddress {
    SocketAddress(high: 0, low: 1, scope: 0, port: port, isV6: true)
  }

  /// An IPv4 address as one integer, 127.0.0.1 being 0x7f000001.
  public init(v4 address: UInt32, port: UInt16) {
    self.init(high: 0, low: UInt64(address), scope: 0, port: port, isV6: false)
  }

  /// Reads "127.0.0.1", "::1" or "fe80::1%eth0"; nil for anything else, names included. Never asks a name server.
  public init?(numericHost host: String, port: UInt16) {
    guard let found = try? Resolver.lookUp(host: host, port: port, numericOnly: true).first else { return nil }
    self = found
  }

  /// The same host at another port.
  public func with(port: UInt16) -> SocketAddress {
    SocketAddress(high: high, low: low, scope: scope, port: port, isV6: isV6)
  }

  var family: Int32 { isV6 ? AF_INET6 : AF_INET }

  /// The host alone, such as "127.0.0.1" or "::1".
  public var host: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
      guard let base = text.baseAddress else { return "" }
      var bytes = (high.bigEndian, low.bigEndian)
      var four = UInt32(truncatingIfNeeded: low).bigEndian
      let written =
        isV6
        ? inet_ntop(AF_INET6, &bytes, base, socklen_t(INET6_ADDRSTRLEN))
        : inet_ntop(AF_INET, &four, base, socklen_t(INET6_ADDRSTRLEN))
      guard written != nil else { return "" }
      return String(cString: base) + (scope == 0 ? "" : "%\(scope)")
    }
  }

  public var description: String { isV6 ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

extension SocketAddress {
  /// Reads what the kernel filled in; nil for families other than IPv4 and IPv6.
  init?(_ storage: sockaddr_storage) {
    var storage = storage
    guard let address = withUnsafePointer(to: &storage, { SocketAddress(reading: UnsafeRawPointer($0)) }) else {
      return nil
    }
    self = address
  }

  /// Reads a `sockaddr_in` or `sockaddr_in6` at `base`.
  init?(reading base: UnsafeRawPointer) {
    switch Int32(base.load(as: sa_family_t.self)) {
    case AF_INET:
      let address = base.loadUnaligned(as: sockaddr_in.self)
      self.init(v4: UInt32(bigEndian: address.sin_addr.s_addr), port: UInt16(bigEndian: address.sin_port))
    case AF_INET6:
      var address = base.loadUnaligned(as: sockaddr_in6.self)
      let (high, low) = withUnsafeBytes(of: &address.sin6_addr) {
        ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      }
      self.init(
        high: UInt64(bigEndian: high), low: UInt64(bigEndian: low), scope: address.sin6_scope_id,
        port: UInt16(bigEndian: address.sin6_port), isV6: true)
    default: return nil
    }
  }

  /// The address as the kernel wants it, for the length of `body`.
  func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    if isV6 { return withUnsafeSockaddr(of: sockaddr6, body) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(truncatingIfNeeded: low).bigEndian
    return withUnsafeSockaddr(of: address, body)
  }

  private var sockaddr6: sockaddr_in6 {
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_port = port.bigEndian
    address.sin6_scope_id = scope
    withUnsafeMutableBytes(of: &address.sin6_addr) {
      $0.storeBytes(of: high.bigEndian, as: UInt64.self)
      $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
    return address
  }

  private func withUnsafeSockaddr<Address, Result>(
    of address: Address, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
  ) -> Result {
    withUnsafePointer(to: address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<Address>.size)) }
    }
  }
}
