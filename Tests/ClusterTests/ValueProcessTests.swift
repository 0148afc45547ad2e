import KVClient
import Testing

extension ProcessTests {
  @Suite struct ValueProcessTests {
    /// A length, and bytes of every value in a pattern that shows when something was moved.
    private static func pattern(_ count: Int) -> [UInt8] {
      (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
    }

    private static let values: [(name: String, bytes: [UInt8])] =
      [("all-bytes", Array(0...255))] + [0, 1, 4_095, 4_096, 65_535, 1 << 20].map { ("of-\($0)", pattern($0)) }

    @Test func `values of every byte and of every edge size come back as they went in, through files and pipes`()
      async throws
    {
      try await Cluster.run { cluster in
        for (name, bytes) in Self.values {
          let (source, target) = (cluster.root + "/\(name).in", cluster.root + "/\(name).out")
          try Files.write(bytes, to: source)
          let put = try await cluster.kvctl("put", "file-\(name)", "--file", source)
          #expect(put.status == 0 && put.output.isEmpty, "\(name): \(put)")
          let get = try await cluster.kvctl("get", "file-\(name)", "--file", target)
          #expect(get.status == 0 && get.output.isEmpty, "\(name): \(get)")
          #expect(try Files.read(target) == bytes, "\(name) through files")

          let piped = try await cluster.kvctl("put", "pipe-\(name)", "-", input: bytes)
          #expect(piped.status == 0, "\(name): \(piped)")
          let back = try await cluster.kvctl("get", "pipe-\(name)")
          #expect(back.status == 0 && back.output == bytes, "\(name) through pipes: \(back.status) \(back.errors)")
          // What one way wrote, the other reads.
          let crossed = try await cluster.kvctl("get", "file-\(name)")
          #expect(crossed.output == bytes, "\(name) from a file to a pipe")
        }
      }
    }

    @Test func `a value of each single byte comes back`() async throws {
      try await Cluster.run { cluster in
        try await cluster.withClient { client in
          for byte in UInt8.min...UInt8.max { try await client.put("byte-\(byte)", [byte]) }
          for byte in UInt8.min...UInt8.max {
            let read = try await client.get("byte-\(byte)")
            #expect(read?.value == [byte])
          }
        }
      }
    }
  }
}
