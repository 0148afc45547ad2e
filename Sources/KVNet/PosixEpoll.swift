import CLinux
import Glibc

/// The calls that wait: epoll, eventfd, timerfd.
extension Posix {
  static func makeEpoll() throws(SystemError) -> Int32 {
    try check("epoll_create1") { epoll_create1(Int32(EPOLL_CLOEXEC)) }
  }

  static func makeEvent() throws(SystemError) -> Int32 {
    try check("eventfd") { eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) }
  }

  static func makeTimer() throws(SystemError) -> Int32 {
    try check("timerfd_create") { timerfd_create(CLOCK_MONOTONIC, Int32(TFD_CLOEXEC | TFD_NONBLOCK)) }
  }

  enum EpollChange: Int32 {
    case add = 1
    case remove = 2
    case modify = 3
  }

  /// Changes what `epoll` watches on `descriptor`; `key` comes back with each event.
  static func change(
    _ epoll: Int32, _ change: EpollChange, _ descriptor: Int32, events: UInt32, key: UInt64
  ) throws(SystemError) {
    var event = epoll_event()
    event.events = events
    event.data.u64 = key
    try check("epoll_ctl") { epoll_ctl(epoll, change.rawValue, descriptor, &event) }
  }

  /// Waits for events; -1 never comes back, since nothing but a bug makes `epoll_wait` fail.
  static func wait(
    _ epoll: Int32, _ events: UnsafeMutablePointer<epoll_event>, _ capacity: Int32, milliseconds: Int32
  ) -> Int {
    let count = retrying { epoll_wait(epoll, events, capacity, milliseconds) }
    if count < 0 { fatalError("epoll_wait(\(epoll)): \(SystemError.text(of: Glibc.errno))") }
    return Int(count)
  }

  /// Adds one to an eventfd: whoever watches it wakes.
  static func signal(event descriptor: Int32) {
    _ = retrying { eventfd_write(descriptor, 1) }
  }

  /// Arms a timerfd for one deadline on the monotonic clock.
  static func arm(timer descriptor: Int32, at nanoseconds: UInt64) throws(SystemError) {
    var setting = itimerspec()
    setting.it_value.tv_sec = Int(clamping: nanoseconds / 1_000_000_000)
    setting.it_value.tv_nsec = Int(nanoseconds % 1_000_000_000)
    try check("timerfd_settime") { timerfd_settime(descriptor, Int32(TFD_TIMER_ABSTIME), &setting, nil) }
  }
}

/// The event masks, as the integers that `epoll_event` holds.
enum Events {
  static let readable = EPOLLIN.rawValue
  static let writable = EPOLLOUT.rawValue
  static let broken = EPOLLERR.rawValue | EPOLLHUP.rawValue
  /// Report each change once; what is watched so needs no read to fall silent.
  static let edge = EPOLLET.rawValue
}
