import KVCore
import KVModel

/// What a test asks of a store in a process of its own. One at a time; each is answered once.
enum Call {
  case submit(StorageOperation, StorageID)
  case endTurn
  case collect
  /// Waits until `collect` has something to give, so many milliseconds at most.
  case wait(ms: UInt32)
  case snapshot
  case syncedLeaf(LeafPlace)
  case recoveredLease
  case close
}

enum Answer {
  /// The store is open.
  case ready
  case refused(String)
  case completions([StorageCompletion])
  case woken(Bool)
  case snapshot(StorageSnapshot)
  case leaf(Digest)
  case lease(Lease?)
  case fault(StorageFault?)
}

// On the pipe each is preceded by its length, 4 bytes. Both ends are of one build: tags may change.
extension Call {
  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    switch self {
    case .submit(let operation, let id):
      bytes.append(0)
      bytes.append(integer: id.raw)
      operation.encode(into: &bytes)
    case .endTurn: bytes.append(1)
    case .collect: bytes.append(2)
    case .wait(let ms):
      bytes.append(3)
      bytes.append(integer: ms)
    case .snapshot: bytes.append(4)
    case .syncedLeaf(let place):
      bytes.append(5)
      place.encode(into: &bytes)
    case .recoveredLease: bytes.append(6)
    case .close: bytes.append(7)
    }
    return bytes
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0:
      let id = StorageID(raw: try reader.u64())
      self = .submit(try StorageOperation(from: &reader), id)
    case 1: self = .endTurn
    case 2: self = .collect
    case 3: self = .wait(ms: try reader.u32())
    case 4: self = .snapshot
    case 5: self = .syncedLeaf(try LeafPlace(from: &reader))
    case 6: self = .recoveredLease
    case 7: self = .close
    case let tag: throw .unknownTag(tag)
    }
  }
}

extension Answer {
  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    switch self {
    case .ready: bytes.append(0)
    case .refused(let text):
      bytes.append(1)
      bytes.append(text: text)
    case .completions(let completions):
      bytes.append(2)
      bytes.append(list: completions) { completion, bytes in
        bytes.append(integer: completion.id.raw)
        completion.result.encode(into: &bytes)
      }
    case .woken(let isWoken):
      bytes.append(3)
      bytes.append(bool: isWoken)
    case .snapshot(let snapshot):
      bytes.append(4)
      snapshot.encode(into: &bytes)
    case .leaf(let digest):
      bytes.append(5)
      digest.encode(into: &bytes)
    case .lease(let lease):
      bytes.append(6)
      bytes.append(optional: lease) { $0.encode(into: &$1) }
    case .fault(let fault):
      bytes.append(7)
      bytes.append(optional: fault) { $0.encode(into: &$1) }
    }
    return bytes
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0: self = .ready
    case 1: self = .refused(try reader.text(max: .max))
    case 2:
      self = .completions(
        try reader.list { (reader) throws(DecodeError) in
          let id = StorageID(raw: try reader.u64())
          return StorageCompletion(id: id, result: try StorageResult(from: &reader))
        })
    case 3: self = .woken(try reader.bool())
    case 4: self = .snapshot(try StorageSnapshot(from: &reader))
    case 5: self = .leaf(try Digest(from: &reader))
    case 6: self = .lease(try reader.optional { (reader) throws(DecodeError) in try Lease(from: &reader) })
    case 7: self = .fault(try reader.optional { (reader) throws(DecodeError) in try StorageFault(from: &reader) })
    case let tag: throw .unknownTag(tag)
    }
  }
}

extension [UInt8] {
  mutating func append<T>(list: [T], _ encode: (T, inout [UInt8]) -> Void) {
    append(integer: UInt32(list.count))
    for item in list { encode(item, &self) }
  }

  mutating func append<T>(optional: T?, _ encode: (T, inout [UInt8]) -> Void) {
    append(bool: optional != nil)
    if let optional { encode(optional, &self) }
  }
}

extension ByteReader {
  mutating func list<T>(_ decode: (inout ByteReader) throws(DecodeError) -> T) throws(DecodeError) -> [T] {
    var result: [T] = []
    for _ in 0..<(try u32()) { result.append(try decode(&self)) }
    return result
  }

  mutating func optional<T>(_ decode: (inout ByteReader) throws(DecodeError) -> T) throws(DecodeError) -> T? {
    try bool() ? try decode(&self) : nil
  }

  mutating func blob() throws(DecodeError) -> [UInt8] { try blob(max: .max) }
}
