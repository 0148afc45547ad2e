internal import Glibc
internal import KVModel

/// A port at which nobody listens and that nobody else is given: whoever connects is refused. Without it the next node
/// that asks for a free port, of another test, may answer at the address of one that was stopped.
final class DeadPort: Sendable {
  private let descriptor: Int32

  /// nil while somebody holds the port, such as a child between fork and exec.
  init?(_ port: UInt16) {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var (one, address) = (Int32(1), sockaddr_in())
    // The connections that the node had wait in TIME_WAIT.
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let bound = withUnsafeBytes(of: &address) { bytes in
      bind(descriptor, bytes.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t(bytes.count))
    }
    if bound != 0 { return nil }
  }

  deinit { close(descriptor) }
}
