/// How a connection reads.
///
/// One `recv` per event, since asking again until EAGAIN costs 20 %. As a rule into the loop's scratch buffer, behind
/// the small rest of last time; the rest of a large frame is read in place, straight into the connection's own buffer:
///
/// ```
///   rest ≤ 4 KiB, frame ≤ 64 KiB:   scratch = [ rest | recv … 256 KiB ]   → handler → rest is kept
///   else:                           kept    = [ rest | recv … neededBytes ] → handler when the frame is whole
/// ```
extension Connection {
  private static var smallRest: Int { 4 << 10 }
  private static var smallFrame: Int { 64 << 10 }

  /// Stops reading; the kernel's buffer fills and the peer feels it. Idempotent.
  public func pauseReading() {
    loop.assertInLoop()
    if isReadingPaused { return }
    isReadingPaused = true
    updateInterest()
  }

  /// Reads on. Bytes that were left unconsumed are presented again, in the next turn at the latest, even when no new
  /// ones come. Idempotent.
  public func resumeReading() {
    loop.assertInLoop()
    if !isReadingPaused { return }
    isReadingPaused = false
    updateInterest()
    if isResumePending { return }
    isResumePending = true
    loop.markResumed(self)
  }

  /// The handler has had its share of this turn: what it leaves is presented again in the next one, and the socket is
  /// not read before all of it is taken. So one peer that sends without end delays the others by no more than a share.
  /// Call it in `onBytes` only.
  public func yieldInput() {
    loop.assertInLoop()
    guard isOpen else { return }
    holdInput()
    continueInput()
  }

  /// As `yieldInput`, but what is left comes again only after `continueInput`. Call it in `onBytes` only.
  public func holdInput() {
    loop.assertInLoop()
    guard isOpen, !isYielding else { return }
    isYielding = true
    updateInterest()
  }

  /// What was held is presented in the next turn. Idempotent; nothing, when nothing was held.
  public func continueInput() {
    loop.assertInLoop()
    guard isYielding, !isResumePending else { return }
    isResumePending = true
    loop.markResumed(self)
  }

  /// The next turn after `resumeReading`, `yieldInput` or `continueInput`.
  func onResumed() {
    isResumePending = false
    let hadYielded = isYielding
    isYielding = false
    if isOpen, !isReadingPaused, input.count > 0, input.count >= neededBytes { deliverKept() }
    if hadYielded && !isYielding { updateInterest() }
    accountInput()
  }

  func onReadable() {
    guard isOpen else { return discardInput() }
    readSome()
    accountInput()
  }

  /// Brings the account up to what is kept now.
  private func accountInput() {
    guard let account, input.count != accountedInputBytes else { return }
    account.inputBytes += input.count - accountedInputBytes
    accountedInputBytes = input.count
  }

  func releaseInput() {
    input.release()
    accountInput()
  }

  private func readSome() {
    if input.count <= Connection.smallRest && neededBytes <= Connection.smallFrame {
      readThroughScratch()
    } else {
      readInPlace()
    }
  }

  private func readThroughScratch() {
    let rest = input.count
    let scratch = loop.scratch
    guard let fresh = receive(into: scratch + rest, EventLoop.scratchBytes - rest) else { return }
    let total = rest + fresh
    if total < neededBytes {
      input.reserve(neededBytes)
      input.append(scratch + rest, fresh)
      return
    }
    if rest > 0 { scratch.copyMemory(from: input.bytes.baseAddress.unsafelyUnwrapped, byteCount: rest) }
    let consumed = present(UnsafeRawBufferPointer(start: scratch, count: total))
    guard isOpen else { return input.release() }
    input.release()
    keep(scratch + consumed, total - consumed)
  }

  private func readInPlace() {
    let grown = max(min(input.count * 2, EventLoop.scratchBytes), input.count + Connection.smallRest)
    let wanted = neededBytes > input.count ? neededBytes : grown
    input.reserve(wanted)
    guard let fresh = receive(into: input.room.baseAddress.unsafelyUnwrapped, wanted - input.count) else { return }
    input.commit(fresh)
    if input.count >= neededBytes { deliverKept() }
  }

  private func deliverKept() {
    let consumed = present(input.bytes)
    guard isOpen else { return input.release() }
    input.consume(consumed)
    boundInput()
  }

  /// Copies what the handler did not consume out of the scratch buffer.
  private func keep(_ rest: UnsafeRawPointer, _ count: Int) {
    if count == 0 { return }
    input.reserve(max(count, neededBytes))
    input.append(rest, count)
    boundInput()
  }

  /// A handler that neither consumes nor says what it waits for gets no more than the scratch buffer's size.
  private func boundInput() {
    if input.count >= EventLoop.scratchBytes && neededBytes <= input.count && !isReadingPaused && !isYielding {
      close(.inputOverflow)
    }
  }

  private func present(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard let handler else { return bytes.count }
    neededBytes = 0
    isDelivering = true
    let consumed = handler.onBytes(bytes, self)
    isDelivering = false
    guard consumed >= 0 && consumed <= bytes.count else {
      fatalError("onBytes consumed \(consumed) of \(bytes.count) bytes")
    }
    return consumed
  }

  /// Bytes that came; nil when there is nothing to present.
  private func receive(into base: UnsafeMutableRawPointer, _ count: Int) -> Int? {
    switch Posix.receive(descriptor, into: base, count) {
    case .bytes(0): onEndOfInput()
    case .bytes(let count):
      bytesRead &+= UInt64(count)
      account?.bytesRead &+= UInt64(count)
      lastReadAt = loop.now
      return count
    case .wouldBlock: break
    case .failed(let error): close(.failed(error))
    }
    return nil
  }

  private func onEndOfInput() {
    peerHasFinished = true
    switch state {
    case .lingering(let reason): close(reason)
    case .open:
      updateInterest()
      handler?.onPeerFinished(self)
    case .connecting, .flushing, .closed: updateInterest()
    }
  }

  /// Nobody wants input any more, but unread bytes would turn our close into a reset.
  private func discardInput() {
    _ = receive(into: loop.scratch, EventLoop.scratchBytes)
  }
}
