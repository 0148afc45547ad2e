/// The bounds that every node and client agrees on, because they are part of the protocol.
public enum Limits {
  /// Partition key and sort key together, bytes.
  public static let keyBytesMax = 256
  /// One value, bytes.
  public static let valueBytesMax = 1 << 20
  /// A frame's body before HELLO is done, bytes.
  public static let bodyBytesMaxBeforeHello = 16 << 10
  /// A request's body after HELLO, bytes: a value and what surrounds it.
  public static let requestBytesMax = valueBytesMax + (64 << 10)
  /// Actors in one context. A context grows by an actor each time an owner of the key restarts uncleanly.
  public static let contextEntriesMax = 2_048
  /// Concurrent versions that a coordinator lets a key have before it refuses to add another.
  public static let siblingsMax = 64
  /// Bytes of concurrent values that a coordinator lets a key have before it refuses to add another.
  public static let siblingBytesMax = 8 << 20
  /// Versions in one record, whatever concurrent coordinators admitted: `siblingsMax` for each of up to 16 of them.
  public static let versionsMax = 1_024
  /// A body that carries a whole record (a reply, a peer's message), bytes: N coordinators at `siblingBytesMax` each.
  public static let recordBytesMax = 64 << 20
  /// Members of one layout.
  public static let membersMax = 1_024
  /// log2 of the partitions of one layout: least and most.
  public static let partitionBits = 4...16
  /// Copies of a key: least and most.
  public static let replication = 1...7
  /// Requests stay on a node no longer than this, whatever deadline they ask for, milliseconds.
  public static let deadlineMsMax: UInt64 = 60_000
  /// How far a fresh stamp may run ahead of the clock of a node that lets it in, milliseconds.
  public static let clockSkewMsMax: UInt64 = 500
  /// How far a node lets its own stamps run ahead of its clock, milliseconds. What lies between this and
  /// `clockSkewMsMax` is room for the nodes' clocks to differ: a stamp at the very edge would be refused by every peer
  /// whose clock is a little behind.
  public static let clockLeadMsMax: UInt64 = 250
  /// The longest time to live, milliseconds: ten years.
  public static let ttlMsMax: UInt64 = 10 * 365 * 86_400_000
}
