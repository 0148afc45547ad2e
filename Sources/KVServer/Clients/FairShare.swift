/// How many frames a connection may have handled in one turn of its loop, so that one client that sends without end takes
/// no more of the node than any other.
///
/// ```
///   budget 16, active 1:   16 a turn        a client alone, whatever its pipeline
///   budget 16, active 17:   1 a turn each   sixteen clients that wait for each answer, and one that floods
/// ```
///
/// Active is who had a frame in this window of 100 ms or in the last one. Turns without the others' frames are not
/// divided by this, but by `FloodQueue`.
struct FairShare {
  let framesATurn: Int
  private var window: UInt32 = 1
  private var active = 0
  private var activeBefore = 0
  private var floods = 0
  private var floodsBefore = 0

  init(framesATurn: Int) { self.framesATurn = framesATurn }

  /// A new window begins.
  mutating func onTick() {
    window &+= 1
    (activeBefore, active) = (active, 0)
    (floodsBefore, floods) = (floods, 0)
  }

  /// A connection's frames for this turn. `lastWindow` is the connection's memory of when it was last counted.
  mutating func frames(_ lastWindow: inout UInt32, isFlood: Bool = false) -> Int {
    if lastWindow != window {
      lastWindow = window
      active += 1
      if isFlood { floods += 1 }
    }
    return max(1, framesATurn / max(1, active, activeBefore))
  }

  /// Active clients that do not flood.
  var others: Int { max(active - floods, activeBefore - floodsBefore) }
}
