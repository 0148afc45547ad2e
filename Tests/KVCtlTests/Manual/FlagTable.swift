/// Which test shows what a flag does. `ManualTests` holds it against the flags that there are and the tests that there
/// are: a new flag needs a line here, and a test that uses it.
enum FlagTable {
  struct Row: Equatable {
    /// `repair verify`, or `any` for the flags that every verb has.
    var verb: String
    var flags: [String]
    var test: String
  }

  static let rows: [Row] = text.split(separator: "\n").map { line in
    let parts = line.split(separator: ": ", maxSplits: 2).map(String.init)
    return Row(verb: parts[0], flags: parts[1].split(separator: " ").map(String.init), test: parts[2])
  }

  /// verb: flags: the test's name
  private static let text = """
    any: --endpoints: usage errors are one line and 2
    any: --timeout: no quorum is 7, an unknown outcome 8, a timeout 124
    any: --output: the version, and a form of output that does not exist
    any: -o --watch: what is watched is shown anew until it is interrupted
    any: --json: an absent key exits with 5, in tables and in JSON
    any: --no-color: a terminal gets colours, unless it wants none
    any: --yes: nodes that disagree are refused with 10 and every reason
    any: --version: the version, and a form of output that does not exist
    any: --help: every verb has help with an example
    get: --sort-key: a sort key is the second half of a key, for every verb about keys
    get: --consistency -r: how many owners a verb waits for reaches the nodes, by word and by number
    get: --hex: hexadecimal goes in as bytes and comes out as digits
    get: --file: a value goes in and comes out untouched, through arguments, pipes and files
    get: --show-context: siblings are told on stderr, shown by json, and merged with the context
    put: --sort-key: a sort key is the second half of a key, for every verb about keys
    put: --file: a value goes in and comes out untouched, through arguments, pipes and files
    put: --hex: hexadecimal goes in as bytes and comes out as digits
    put: --ttl: a time to live ends with the key
    put: --context: siblings are told on stderr, shown by json, and merged with the context
    put: --show-context: the context of a write is for the next one, and a deletion with a context spares what came since
    put: --consistency -w: how many owners a verb waits for reaches the nodes, by word and by number
    delete: --sort-key: a sort key is the second half of a key, for every verb about keys
    delete: --context: the context of a write is for the next one, and a deletion with a context spares what came since
    delete: --show-context: the context of a deletion is for the next write
    delete: --consistency -w: how many owners a verb waits for reaches the nodes, by word and by number
    explain: --sort-key: a sort key is the second half of a key, for every verb about keys
    import: --format --in-flight --checkpoint: an import that failed goes on where it was
    import: --consistency -w: how many owners a verb waits for reaches the nodes, by word and by number
    export: --keys --format --keys-format --in-flight --checkpoint: an export that failed goes on where it was
    export: --consistency -r: how many owners a verb waits for reaches the nodes, by word and by number
    ring locate: --sort-key: a sort key is the second half of a key, for every verb about keys
    repair run: --node --partition --no-wait: a run asks every owner for every partition, or those that are named, and waits until none is due
    repair accept-loss: --node --partition: what too many owners have lost is listed, and accepted where it was told
    repair verify: --partition --rate: a verification that finds all equal is 0, and says what it read
    tombstones stats: --sample --rate --all: tombstones are counted from a sample of the partitions, or from all
    bench: --workload --records --key-size --distribution --seed --warmup --consistency --clients --duration: bench takes its sizes, distribution, seed and warm-up, and says them in its document
    bench: --value-size --through: loads, runs and reports
    bench: --load: a record that fails at first is loaded in the end
    bench: --pipeline --loops: every node gets its share, and writes go to first owners
    bench: --rate: an open loop keeps to its rate
    bench: --target: redis is driven by the same generator
    """
}
