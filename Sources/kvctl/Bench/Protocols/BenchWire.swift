import KVModel

/// What the driver wants of a protocol: requests appended to a connection's output, replies read in place. One for each
/// connection, made anew with it; confined to the connection's loop.
///
/// Bound to classes so that the driver is one concrete type: a generic driver is not specialised behind the handler that
/// a connection calls, and spent a tenth of its time on metadata.
protocol BenchWire: AnyObject {
  /// Says what has to be said before the first request; the answer comes as `.ready`.
  func greet(at now: UInt64, into output: inout [UInt8])
  func read(_ request: BenchRequest, into output: inout [UInt8])
  /// `context`: of the read whose result this write replaces.
  func write(_ request: BenchRequest, _ value: BenchValue, _ context: ContextToken?, into output: inout [UInt8])
  /// What stands at the head of `bytes`, which hold for this call only.
  func next(in bytes: UnsafeRawBufferPointer, at now: UInt64) -> BenchIncoming
}

/// A request, as both protocols need it.
struct BenchRequest {
  /// Names it among those that are open on this driver; comes back with its reply.
  var id: UInt64
  var key: [UInt8]
  /// When it is given up, nanoseconds of the driver's clock.
  var deadline: UInt64
}

enum BenchIncoming: Equatable {
  /// More bytes are needed; so many in all, or 0 when that is not known.
  case incomplete(neededBytes: Int)
  /// Requests may be sent from now on.
  case ready(bytes: Int)
  case reply(BenchReply, bytes: Int)
  /// Nothing to do with any request. `answer` goes back.
  case aside(answer: [UInt8], bytes: Int)
  /// The other side takes nothing new.
  case leaving(bytes: Int)
  /// The connection makes no sense any more.
  case broken(BenchFault)
}

struct BenchReply: Equatable {
  var id: UInt64
  var answer: BenchAnswer
}

enum BenchAnswer: Equatable {
  case found(ContextToken?)
  case absent(ContextToken?)
  case written
  case failed(BenchFault)
}

/// Why a request failed, as reports count it.
struct BenchFault: Error, Equatable, Hashable {
  /// One word for scripts.
  var code: String
  /// One line for people; of several with one code the first is shown.
  var message: String

  init(_ code: String, _ message: String) {
    self.code = code
    self.message = message
  }
}
