/// How a connection writes: appended during the turn, sent once at its end.
///
/// ```
///   output ├── sentBytes ──┼── waiting ──┤     write: append, join the loop's dirty (or urgent) list
///                                              flush: one send; short or EAGAIN → EPOLLOUT takes over
/// ```
extension Connection {
  /// Bytes that wait to be sent.
  public var outputBytes: Int { output.count - sentBytes }

  /// Lets `body` append to the output, which is sent at the end of the turn. Ignored, `body` included, once the
  /// connection is closing. `body` must not touch this connection in any other way, nor what the output holds already.
  public func write(_ body: (inout [UInt8]) -> Void) {
    loop.assertInLoop()
    guard isOpen || state == .connecting else { return }
    let before = output.count
    body(&output)
    account?.outputBytes += output.count - before
    onWritten()
  }

  /// Appends bytes to the output.
  public func write(_ bytes: UnsafeRawBufferPointer) {
    write { $0.append(contentsOf: bytes) }
  }

  private func onWritten() {
    let waiting = outputBytes
    if waiting == 0 { return }
    if waiting > options.outputHighWater { isAboveHighWater = true }
    if waiting > options.outputBytesMax { return close(.outputOverflow) }
    if state == .open { markDirty() }
  }

  func markDirty() {
    if isDirty || isStalled { return }
    isDirty = true
    loop.markDirty(self)
  }

  /// The end of a turn.
  func onFlush() {
    isDirty = false
    if !isStalled { flush() }
  }

  /// EPOLLOUT: the socket has room again.
  func onRoom() {
    isStalled = false
    flush()
    updateInterest()
  }

  private func flush() {
    switch state {
    case .open, .flushing: break
    case .connecting, .lingering, .closed: return
    }
    if outputBytes > 0 {
      guard send() else { return }
    }
    if case .flushing(let reason) = state, outputBytes == 0 { return finishSending(reason) }
    reportRoom()
  }

  /// One send. False: the connection is closed.
  private func send() -> Bool {
    let waiting = outputBytes
    let result = output.withUnsafeBytes {
      Posix.send(descriptor, $0.baseAddress.unsafelyUnwrapped + sentBytes, waiting)
    }
    switch result {
    case .bytes(let count):
      bytesWritten &+= UInt64(count)
      sentBytes += count
      account?.outputBytes -= count
      account?.bytesWritten &+= UInt64(count)
      if count < waiting { stall() } else { emptyOutput() }
    case .wouldBlock: stall()
    case .failed(let error):
      close(.failed(error))
      return false
    }
    return true
  }

  /// The socket is full. What is sent leaves the buffer once it is the larger half, so that each byte moves at most
  /// once on average.
  private func stall() {
    if sentBytes > output.count / 2 {
      output.removeSubrange(0..<sentBytes)
      sentBytes = 0
    }
    if isStalled { return }
    isStalled = true
    updateInterest()
  }

  private func emptyOutput() {
    sentBytes = 0
    if output.capacity > options.outputKeptBytes { output = [] } else { output.removeAll(keepingCapacity: true) }
  }

  private func reportRoom() {
    if isAboveHighWater && outputBytes <= options.outputLowWater {
      isAboveHighWater = false
      handler?.onWritable(self)
    }
  }
}
