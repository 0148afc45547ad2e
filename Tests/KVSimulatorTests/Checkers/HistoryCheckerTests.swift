import KVSimulator
import Testing

/// Planted histories: each rule catches its own, and lets the near miss beside it pass.
@Suite struct HistoryCheckerTests {
  @Test func `an empty history holds`() {
    #expect(HistoryChecker.check(History(copies: 3, readQuorum: 2, writeQuorum: 2)).isEmpty)
  }

  // MARK: NLA

  @Test func `NLA: an acknowledged put that a later quorum read misses is lost`() {
    var story = Story()
    let put = story.put(0...10)
    let get = story.get(20...30, [])
    #expect(story.verdict() == ["NLA [\(put), \(get)]"])
  }

  @Test func `NLA: an answer and a request at the same nanosecond are in this order`() {
    var story = Story()
    let put = story.put(0...10)
    let get = story.get(10...30, [])
    #expect(story.verdict() == ["NLA [\(put), \(get)]"])
  }

  @Test func `a put may be missed by a get that began before its acknowledgement`() {
    var story = Story()
    _ = story.put(0...10)
    story.get(9...30, [])
    #expect(story.verdict() == [])
  }

  @Test func `a put without an answer may be missed, and may appear later`() {
    var story = Story()
    let put = story.put(0...10, unknown)
    story.get(20...30, [])
    story.get(40...50, [put])
    #expect(story.verdict() == [])
  }

  @Test func `a get and a put whose quorums need not meet promise nothing`() {
    var story = Story()
    let weak = story.put(0...10, quorum: 1)
    story.get(20...30, [])
    let strong = story.put(40...50)
    story.get(60...70, [], quorum: 1)
    #expect(story.verdict() == [])
    let all = story.get(80...90, [], quorum: 3)
    #expect(story.verdict() == ["NLA [\(weak), \(all)]", "NLA [\(strong), \(all)]"])
  }

  @Test func `an overwrite replaces what was written before and beside it`() {
    var story = Story()
    _ = story.put(0...10)
    _ = story.put(15...40)
    let overwrite = story.put(20...30)
    story.get(50...60, [overwrite])
    #expect(story.verdict() == [])
  }

  @Test func `NLA: an overwrite does not replace what was invoked after its answer`() {
    var story = Story()
    let first = story.put(0...10)
    let second = story.put(20...30)
    let get = story.get(40...50, [first])
    #expect(story.verdict() == ["SE [\(first), \(second), \(get)]", "NLA [\(second), \(get)]"])
  }

  @Test func `an overwrite without an answer may replace what was written long after it`() {
    var story = Story()
    let lost = story.put(0...10, unknown)
    let put = story.put(20...30)
    story.get(40...50, [put])
    story.get(60...70, [lost])
    #expect(story.verdict() == [])
  }

  @Test func `NLA: an overwrite without an answer replaces nothing after its deadline`() {
    var story = Story()
    let lost = story.put(0...10, unknown)
    let put = story.put(2_000_000...2_000_010)
    let get = story.get(3_000_000...3_000_010, [lost])
    #expect(story.verdict(.init(deadlineMs: 2)) == [])
    #expect(story.verdict(.init(deadlineMs: 1)) == ["NLA [\(put), \(get)]"])
  }

  @Test func `a write with a context replaces what its get returned and what that had replaced`() {
    var story = Story()
    let old = story.put(0...10)
    let first = story.get(20...30, [old])
    let middle = story.put(40...50, context: first, unknown)
    let second = story.get(60...70, [middle])
    let new = story.put(80...90, context: second)
    story.get(100...110, [new])
    #expect(story.verdict() == [])
  }

  @Test func `NLA: a write with a context does not replace a sibling that its get did not return`() {
    var story = Story()
    let seen = story.put(0...10)
    let get = story.get(20...30, [seen])
    let sibling = story.put(22...40, context: get)
    let new = story.put(50...60, context: get)
    let last = story.get(70...80, [new])
    #expect(story.verdict() == ["NLA [\(sibling), \(last)]"])
  }

  @Test func `NLA: a context with an overwrite in flight does not reach past its own get`() {
    var story = Story()
    let overwrite = story.put(0...1_000)
    let first = story.get(20...30, [overwrite])
    let beside = story.put(40...50, context: first)
    let new = story.put(60...70, context: first)
    let get = story.get(80...90, [new])
    #expect(story.verdict() == ["NLA [\(beside), \(get)]"])
  }

  @Test func `NLA: the second round of an overwrite does not replace what had read its first`() {
    var story = Story()
    let overwrite = story.put(0...100)
    let first = story.get(20...30, [overwrite])
    let reader = story.put(40...50, context: first)
    let get = story.get(110...120, [overwrite])
    #expect(story.verdict() == ["NLA [\(reader), \(get)]"])
  }

  @Test func `the second round of an overwrite may replace what replaced the reader of its first`() {
    var story = Story()
    let overwrite = story.put(0...100)
    let first = story.get(20...30, [overwrite])
    _ = story.put(40...50, context: first)
    _ = story.put(45...60, unknown)
    story.get(110...120, [overwrite])
    #expect(story.verdict() == [])
  }

  @Test func `NLA: an overwrite that was acknowledged and left a sibling does not replace it later`() {
    var story = Story()
    let put = story.put(0...25)
    let overwrite = story.put(20...30)
    story.get(40...50, [put, overwrite])
    let get = story.get(60...70, [overwrite])
    #expect(story.verdict() == ["NLA [\(put), \(get)]"])
  }

  @Test func `an overwrite may replace a sibling for as long as it has not been acknowledged`() {
    var story = Story()
    let put = story.put(0...25)
    let overwrite = story.put(20...30)
    story.get(28...50, [put, overwrite])
    story.get(60...70, [overwrite])
    #expect(story.verdict() == [])
  }

  @Test func `what outlived an overwrite may be replaced by another, in flight, that it replaced`() {
    var story = Story()
    let put = story.put(0...10)
    _ = story.put(20...60)
    let overwrite = story.put(25...30)
    story.get(40...50, [put, overwrite], quorum: 3)
    story.get(70...80, [overwrite], quorum: 3)
    #expect(story.verdict() == ["SE [1, 3, 4]"])
    story.history.operations[0].quorum = 1
    story.history.operations[2].quorum = 1
    #expect(story.verdict() == [])
  }

  // MARK: Receipts

  @Test func `NLA: the receipt of a write with a context does not cover a sibling that nobody saw`() {
    var story = Story()
    let base = story.put(0...10)
    let get = story.get(20...30, [base])
    let sibling = story.put(40...50, context: get)
    let mine = story.put(60...70, context: get)
    let next = story.put(80...90, context: mine)
    let last = story.get(100...110, [next])
    #expect(story.verdict() == ["NLA [\(sibling), \(last)]"])
  }

  @Test func `the receipt of a write with a context covers that write and its context`() {
    var story = Story()
    let base = story.put(0...10)
    let get = story.get(20...30, [base])
    let sibling = story.put(40...50, context: get)
    let mine = story.put(60...70, context: get)
    let next = story.put(80...90, context: mine)
    story.get(100...110, [next, sibling])
    #expect(story.verdict() == [])
  }

  @Test func `the receipt of an overwrite covers what the overwrite replaced`() {
    var story = Story()
    _ = story.put(0...10)
    let overwrite = story.put(20...30)
    let next = story.put(40...50, context: overwrite)
    story.get(60...70, [next])
    #expect(story.verdict() == [])
  }

  @Test func `SE: what a receipt's write had replaced does not come back beside its successor`() {
    var story = Story()
    let base = story.put(0...10)
    let overwrite = story.put(20...30)
    let next = story.put(40...50, context: overwrite, quorum: 1)
    let get = story.get(60...70, [next, base], quorum: 1)
    #expect(story.verdict() == ["SE [\(base), \(next), \(get)]"])
  }

  // MARK: Deletes and expiry

  @Test func `a delete may stand behind an absent key`() {
    var story = Story()
    let put = story.put(0...10)
    let get = story.get(20...30, [put])
    _ = story.delete(40...50, context: get, unknown)
    story.get(60...70, [])
    #expect(story.verdict() == [])
  }

  @Test func `NLA: a delete with a context does not stand for a put that it never saw`() {
    var story = Story()
    let put = story.put(0...10)
    let get = story.get(20...30, [put])
    let other = story.put(40...50, context: get)
    _ = story.delete(40...50, context: get)
    let last = story.get(60...70, [])
    #expect(story.verdict() == ["NLA [\(other), \(last)]"])
  }

  @Test func `NLA: an absent key's context covers deletes only`() {
    var story = Story()
    let empty = story.get(0...10, [])
    let first = story.put(20...30, context: empty)
    let second = story.put(40...50, context: empty)
    let get = story.get(60...70, [second])
    #expect(story.verdict() == ["NLA [\(first), \(get)]"])
  }

  @Test func `an absent key's context covers a delete, and what that had replaced`() {
    var story = Story()
    _ = story.put(0...10)
    _ = story.delete(20...30)
    let empty = story.get(40...50, [])
    let put = story.put(60...70, context: empty)
    story.get(80...90, [put])
    #expect(story.verdict() == [])
  }

  @Test func `SE: what a delete covered returns`() {
    var story = Story()
    let put = story.put(0...10)
    let get = story.get(20...30, [put])
    let delete = story.delete(40...50, context: get)
    let last = story.get(60...70, [put])
    #expect(story.verdict() == ["SE [\(put), \(delete), \(last)]"])
  }

  @Test func `a put that expires may be missed, and may hide what replaced others`() {
    var story = Story()
    _ = story.put(0...10)
    _ = story.put(20...30, expiring)
    story.get(40...50, [])
    #expect(story.verdict() == [])
  }

  @Test func `NLA: with known clocks a put that expires may not be missed before`() {
    var story = Story()
    let put = story.put(0...10, expiring)
    let early = story.get(40...50, [])
    #expect(story.verdict(.init(clockErrorMs: 100)) == ["NLA [\(put), \(early)]"])
    #expect(story.verdict(.init(clockErrorMs: 500)) == [])
  }

  @Test func `SE: with known clocks an expired put is not returned`() {
    var story = Story()
    let put = story.put(0...10, expiring)
    let get = story.get(2_000_000_011...2_000_000_050, [put])
    #expect(story.verdict() == [])
    #expect(story.verdict(.init(clockErrorMs: 500)) == ["SE [\(put), \(get)]"])
    #expect(story.verdict(.init(clockErrorMs: 501)) == [])
  }

  @Test func `an expired put may be seen again by a node whose clock is behind`() {
    var story = Story()
    let put = story.put(0...10, expiring)
    story.get(20...30, [])
    story.get(40...50, [put])
    #expect(story.verdict() == [])
  }

  // MARK: SE

  @Test func `SE: what one quorum read returned the next one misses`() {
    var story = Story()
    let put = story.put(0...10, unknown)
    let first = story.get(20...30, [put])
    let second = story.get(40...50, [])
    #expect(story.verdict() == ["SE [\(put), \(first), \(second)]"])
  }

  @Test func `reads whose quorums need not meet promise nothing to each other`() {
    for (first, second) in [(1, 1), (1, 2), (3, 2), (3, 1), (2, 1)] {
      var story = Story()
      let put = story.put(0...10, unknown)
      story.get(20...30, [put], quorum: first)
      story.get(40...50, [], quorum: second)
      #expect(story.verdict() == [], "\(first) then \(second)")
    }
  }

  @Test func `SE: what an acknowledged write with a context replaced comes back`() {
    var story = Story()
    let old = story.put(0...10)
    let get = story.get(20...30, [old])
    let new = story.put(40...50, context: get)
    let last = story.get(60...70, [old])
    #expect(story.verdict() == ["SE [\(old), \(new), \(last)]", "NLA [\(new), \(last)]"])
  }

  @Test func `SE: what an acknowledged overwrite replaced comes back beside it`() {
    var story = Story()
    let old = story.put(0...10)
    let new = story.put(20...30)
    let get = story.get(40...50, [new, old])
    #expect(story.verdict() == ["SE [\(old), \(new), \(get)]"])
  }

  @Test func `an overwrite and one in flight with it may be siblings`() {
    var story = Story()
    let old = story.put(0...25)
    let new = story.put(20...30)
    story.get(40...50, [new, old])
    #expect(story.verdict() == [])
  }

  @Test func `SE: what a quorum read did not return any more comes back`() {
    var story = Story()
    let old = story.put(0...10)
    let new = story.put(20...30, unknown)
    let first = story.get(40...50, [new])
    let second = story.get(60...70, [new, old])
    #expect(story.verdict() == ["SE [\(old), \(first), \(second)]"])
  }

  @Test func `SE: any read that returns a version beside one that it replaced shows false siblings`() {
    var story = Story()
    let empty = story.get(0...1, [])
    let old = story.put(2...10, context: empty, quorum: 1, unknown)
    let first = story.get(20...30, [old], quorum: 1)
    let new = story.put(40...50, context: first, quorum: 1, unknown)
    let last = story.get(60...70, [old, new], quorum: 1)
    #expect(story.verdict() == ["SE [\(old), \(new), \(last)]"])
  }

  @Test func `SE: a version that somebody saw has replaced what its author read, acknowledged or not`() {
    var story = Story()
    let empty = story.get(0...1, [])
    let old = story.put(2...10, context: empty)
    let first = story.get(20...30, [old])
    let new = story.put(40...50, context: first, unknown)
    story.get(60...70, [new])
    story.get(80...90, [old])
    #expect(story.verdict().first == "SE [2, 5, 6]")
  }

  @Test func `an overwrite whose first round was read and replaced may show its second`() {
    var story = Story()
    let overwrite = story.put(0...55)
    let first = story.get(20...30, [overwrite])
    let new = story.put(40...50, context: first)
    story.get(60...70, [new, overwrite])
    #expect(story.verdict() == [])
  }

  @Test func `SE: an overwrite that was read after its answer has no more rounds`() {
    var story = Story()
    let overwrite = story.put(0...10)
    let first = story.get(20...30, [overwrite])
    let new = story.put(40...50, context: first)
    let last = story.get(60...70, [new, overwrite])
    #expect(story.verdict() == ["SE [\(overwrite), \(new), \(last)]"])
  }

  @Test func `a write that was sent twice may have two dots until it is acknowledged`() {
    var story = Story()
    let empty = story.get(0...1, [])
    let old = story.put(2...55, context: empty, retried)
    let first = story.get(20...30, [old])
    let new = story.put(40...50, context: first)
    story.get(60...70, [new, old])
    #expect(story.verdict() == [])
  }

  @Test func `the context of a weak read is a real one`() {
    var story = Story()
    let empty = story.get(0...1, [])
    let old = story.put(2...10, context: empty, quorum: 1)
    let weak = story.get(20...30, [old], quorum: 1)
    let new = story.put(40...50, context: weak)
    story.get(60...70, [new])
    #expect(story.verdict() == [])
    let last = story.get(80...90, [old])
    #expect(story.verdict() == ["SE [\(old), \(new), \(last)]", "NLA [\(new), \(last)]"])
  }

  // MARK: DF, DU

  @Test func `DF: a rejected put, one not yet invoked, a delete, another key's, nobody's`() {
    var story = Story()
    let no = story.put(0...10, rejected)
    let delete = story.delete(0...10, unknown)
    let other = story.put(0...10, key: 1)
    for seen in [no, delete, other] {
      var broken = story
      let get = broken.get(20...30, [seen])
      #expect(broken.verdict() == ["DF [\(seen), \(get)]"])
    }
    var broken = story
    let nobodys = broken.get(20...30, [99])
    #expect(broken.verdict() == ["DF [\(nobodys)]"])
    let get = story.get(20...30, [story.history.operations.count + 2])
    let late = story.put(31...40, unknown)
    #expect(story.verdict() == ["DF [\(late), \(get)]"])
  }

  @Test func `DF and DU hold for reads and writes that promise nothing else`() {
    var story = Story()
    let no = story.put(0...10, quorum: 1, rejected)
    let put = story.put(0...10, quorum: 1)
    let first = story.get(20...30, [no], quorum: 1)
    let second = story.get(40...50, [put, put], quorum: 1)
    #expect(story.verdict() == ["DF [\(no), \(first)]", "DU [\(put), \(second)]"])
  }

  @Test func `a put may be seen before its answer, in the very nanosecond of its invocation`() {
    var story = Story()
    let put = story.put(30...90)
    story.get(20...30, [put])
    #expect(story.verdict() == [])
  }

  @Test func `a failed read tells nothing`() {
    var story = Story()
    _ = story.put(0...10)
    story.get(20...30, [77])
    story.history.operations[1].outcome = .rejected
    #expect(story.verdict() == [])
  }

  // MARK: Input that no client writes

  @Test func `contexts that no answer brought count for nothing, whatever they name`() {
    for context in [1, 2, 3, 4, 99, -1] {
      var story = Story()
      let put = story.put(0...10)
      _ = story.put(0...10, key: 1)
      let new = story.put(20...30, context: context == 1 ? nil : context)
      story.get(40...50, [new])
      #expect(story.verdict() == [], "\(put) under a context of \(context)")
    }
  }

  @Test func `the checker survives quorums and times that make no sense`() {
    var story = Story()
    let put = story.put(100...200, quorum: -4)
    let other = story.put(100...200, quorum: 9)
    story.get(300...400, [put, other], quorum: 12)
    story.get(500...600, [put], quorum: -1)
    story.history.operations[2].returnedAt = 5
    story.history.operations.append(story.history.operations[0])
    _ = story.verdict(.init(clockErrorMs: .max, deadlineMs: .max))
    story.history.copies = -2
    _ = story.verdict()
  }

  @Test func `operations may come in any order, and violations come in the order in which they show`() {
    var story = Story()
    let first = story.put(0...10)
    let second = story.put(0...10, key: 1)
    let late = story.get(20...70, [], key: 0)
    let early = story.get(30...60, [], key: 1)
    let expected = ["NLA [\(second), \(early)]", "NLA [\(first), \(late)]"]
    #expect(story.verdict() == expected)
    story.history.operations.reverse()
    #expect(story.verdict() == expected)
    #expect(HistoryChecker.check(story.history, limit: 1).map(\.operations) == [[second, early]])
  }
}
