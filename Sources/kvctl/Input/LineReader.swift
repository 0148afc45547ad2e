import Foundation

/// The lines of a file or of standard input, read in blocks; each byte is looked at once, however long the file.
struct LineReader {
  enum Line: Equatable {
    case bytes([UInt8])
    /// Longer than `LineReader.bytesMax`; its bytes were skipped.
    case tooLong
  }

  /// The longest line. A value of 1 MiB takes 6 MiB when each of its bytes is escaped.
  static let bytesMax = 8 << 20

  private let descriptor: Int32
  private let ownsDescriptor: Bool
  private var block: [UInt8] = []
  private var offset = 0
  private var isAtEnd = false
  /// Bytes that were read so far.
  private(set) var bytesRead: UInt64 = 0
  /// Bytes of the file; 0 for a pipe.
  let size: UInt64
  private static let blockBytes = 256 << 10

  /// `-` is standard input.
  init(path: String) throws(CommandFailure) {
    ownsDescriptor = path != "-"
    descriptor = try path == "-" ? STDIN_FILENO : Files.open(path)
    size = Files.size(descriptor)
  }

  /// Over an open descriptor, which stays the caller's.
  init(descriptor: Int32) {
    self.descriptor = descriptor
    size = Files.size(descriptor)
    ownsDescriptor = false
  }

  func finish() { if ownsDescriptor { close(descriptor) } }

  /// The next line without its end (`\n` or `\r\n`); nil at the end.
  mutating func next() throws(CommandFailure) -> Line? {
    var line: [UInt8] = []
    var isTooLong = false
    while true {
      if offset == block.count, try !refill() {
        if line.isEmpty, !isTooLong { return nil }
        return isTooLong ? .tooLong : .bytes(LineReader.trimmed(line))
      }
      let end = block[offset...].firstIndex(of: UInt8(ascii: "\n"))
      let part = block[offset..<(end ?? block.count)]
      offset = end.map { $0 + 1 } ?? block.count
      if line.count + part.count > LineReader.bytesMax {
        isTooLong = true
        line = []
      } else if !isTooLong {
        line.append(contentsOf: part)
      }
      if end != nil { return isTooLong ? .tooLong : .bytes(LineReader.trimmed(line)) }
    }
  }

  private static func trimmed(_ line: [UInt8]) -> [UInt8] {
    line.last == UInt8(ascii: "\r") ? [UInt8](line.dropLast()) : line
  }

  private mutating func refill() throws(CommandFailure) -> Bool {
    guard !isAtEnd else { return false }
    block = try Files.readBlock(descriptor, bytesMax: LineReader.blockBytes)
    offset = 0
    bytesRead += UInt64(block.count)
    isAtEnd = block.isEmpty
    return !isAtEnd
  }
}
