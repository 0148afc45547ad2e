/// Why a connection ended.
public enum CloseReason: Equatable, Sendable {
  /// Our side closed it.
  case local
  /// The peer finished sending, and everything that we had for it is sent.
  case peerClosed
  /// A read or write failed, with this `errno` (ECONNRESET, ETIMEDOUT after the user timeout, …).
  case failed(Int32)
  /// It never came to be, with this `errno`.
  case connectFailed(Int32)
  /// The handler left `EventLoop.scratchBytes` unconsumed and named no `neededBytes`.
  case inputOverflow
  /// The peer does not read: output passed `outputBytesMax`.
  case outputOverflow
  /// The loop stopped.
  case loopStopped
}

/// What a connection tells its owner, always on its loop, never from inside another call to the same handler.
public protocol ConnectionHandler: AnyObject {
  /// The connect of `Connection.connect` is done. Not called for adopted descriptors.
  func onConnected(_ connection: Connection)
  /// Bytes in order: what was left last time, then what is new. Answers how many are done with; the rest comes again,
  /// with more behind it. Set `connection.neededBytes` when the length of an incomplete frame is known.
  /// `bytes` is valid during this call only.
  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int
  /// The peer will send nothing more, though it may still read. By default: `closeAfterFlush(.peerClosed)`.
  func onPeerFinished(_ connection: Connection)
  /// Output fell to the low-water mark after it had been above the high one.
  func onWritable(_ connection: Connection)
  /// The last call of all; the connection lets go of its handler. The descriptor is closed already.
  func onClosed(_ connection: Connection, reason: CloseReason)
}

extension ConnectionHandler {
  public func onConnected(_ connection: Connection) {}
  public func onWritable(_ connection: Connection) {}
  public func onPeerFinished(_ connection: Connection) { connection.closeAfterFlush(.peerClosed) }
}

/// How a connection behaves; every number with its reason.
public struct ConnectionOptions: Equatable, Sendable {
  /// Flushed before the turn's observers run: peer links, whose round trip everybody waits for.
  public var isUrgent = false
  /// Above this much output `isAboveHighWater` is set, bytes: the biggest reply, so that one alone does not set it off.
  public var outputHighWater = 1 << 20
  /// At or below this much it is cleared and `onWritable` called, bytes: so far below that the two do not flutter.
  public var outputLowWater = 256 << 10
  /// Above this much the connection is closed, bytes: a peer that does not read must not eat the memory of all.
  public var outputBytesMax = 256 << 20
  /// Buffer that an idle connection may keep for output, bytes. At 2,000 idle connections: 128 MB at the very most.
  public var outputKeptBytes = 64 << 10
  /// TCP_USER_TIMEOUT, milliseconds; 0 leaves the kernel's, which is some 15 minutes. Keep-alive does not notice a dead
  /// peer while unacknowledged data is under way (hazard 49). It also ends a connection whose peer keeps its window
  /// shut for so long: a reader may be slow, but not stand still.
  public var userTimeoutMilliseconds: Int32 = 10_000
  /// SO_KEEPALIVE: only for connections on which no heartbeat of our own runs.
  public var keepAlive = false
  /// Silence before keep-alive asks whether the peer is still there, seconds; 0 leaves the kernel's two hours.
  public var keepAliveIdleSeconds: Int32 = 0

  public init() {}
}
