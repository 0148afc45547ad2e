import Foundation
import KVModel
import Testing

/// Our hashes against independent implementations. `Fixtures/hash-vectors.py` made the vectors and says how.
struct HashVectorTests {
  /// SMHasher's `VerificationTest`: hash the keys {}, {0}, {0, 1}, … of 0 to 255 bytes under seed 256 − length, hash
  /// the digests strung together under seed 0, and read the first four bytes of that.
  @Test func `murmur3 has the verification value of SMHasher`() {
    var digests: [UInt8] = []
    for count in 0..<256 {
      let key = (0..<count).map { UInt8($0) }
      digests += littleEndian(murmur3(key, seed: UInt32(256 - count)))
    }
    let last = littleEndian(murmur3(digests, seed: 0))
    #expect(last[..<4].reversed().reduce(0) { $0 << 8 | UInt32($1) } == 0x6384_ba69)
  }

  @Test func `murmur3 agrees with mmh3 for inputs of 0 to 255 bytes`() throws {
    let vectors = try vectors("murmur3-x64-128")
    #expect(vectors.count == 4 * 256)
    for vector in vectors {
      let digest = murmur3(input(Int(vector[1])), seed: UInt32(vector[0]))
      #expect([digest.first, digest.second] == Array(vector[2...]), "seed \(vector[0]), \(vector[1]) bytes")
    }
  }

  @Test func `checksums and digests agree with xxhash for inputs of 0 to 300 bytes`() throws {
    let vectors = try vectors("xxh3")
    #expect(vectors.count == 3 * 301)
    for vector in vectors {
      let bytes = input(Int(vector[1]))
      let digest = Digest.of(bytes, seed: vector[0])
      #expect(
        [Checksum.of(bytes, seed: vector[0]), digest.high, digest.low] == Array(vector[2...]),
        "seed \(vector[0]), \(vector[1]) bytes")
    }
  }

  @Test func `murmur3 reads unaligned bytes as it reads aligned ones`() {
    for offset in 0..<16 {
      let padded = [UInt8](repeating: 9, count: offset) + input(100)
      let digest = padded.withUnsafeBytes { Murmur3.hash(UnsafeRawBufferPointer(rebasing: $0[offset...])) }
      #expect(digest == murmur3(input(100), seed: 0))
    }
  }

  private func murmur3(_ bytes: [UInt8], seed: UInt32) -> Murmur3.Digest {
    bytes.withUnsafeBytes { Murmur3.hash($0, seed: seed) }
  }

  private func littleEndian(_ digest: Murmur3.Digest) -> [UInt8] {
    [digest.first, digest.second].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> ($0 * 8)) } }
  }

  /// The input of a vector.
  private func input(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: 7 * $0 + count) } }

  /// Seed (hexadecimal), length (decimal), halves of digests (hexadecimal).
  private func vectors(_ name: String) throws -> [[UInt64]] {
    let url = try #require(Bundle.module.url(forResource: name, withExtension: "txt", subdirectory: "Fixtures"))
    return try String(contentsOf: url, encoding: .utf8).split(separator: "\n").filter { !$0.hasPrefix("#") }.map {
      line in
      try line.split(separator: " ").enumerated().map { place, word in
        try #require(UInt64(word, radix: place == 1 ? 10 : 16))
      }
    }
  }
}
