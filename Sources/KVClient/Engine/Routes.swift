internal import KVModel

/// The layout that the client knows, with the links to its members in their order.
struct Routes {
  let layout: Layout
  let table: PartitionTable
  let links: [NodeLink]

  func partition(of token: Token) -> PartitionID { token.partition(bits: table.partitionBits) }

  /// The links to the owners of a token, in order of preference.
  func owners(of token: Token) -> LazyMapCollection<ArraySlice<UInt16>, NodeLink> {
    table[partition(of: token)].lazy.map { links[Int($0)] }
  }
}
