/// What several connections of one loop hold together, so that their owner can bound it, and what went over them. Loop
/// only.
public final class ByteAccount: @unchecked Sendable {
  /// Of incomplete or waiting frames.
  public internal(set) var inputBytes = 0
  /// Written, and not yet taken by the kernel.
  public internal(set) var outputBytes = 0

  /// From the sockets, and to them, since the start; over connections that are closed too.
  public internal(set) var bytesRead: UInt64 = 0
  public internal(set) var bytesWritten: UInt64 = 0

  public init() {}
}
