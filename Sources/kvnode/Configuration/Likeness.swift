/// Finds what a mistyped word was meant to be.
enum Likeness {
  /// The candidate that fewest edits turn the word into, when they are few for its length; the first of equals.
  static func nearest(to word: String, among candidates: [String]) -> String? {
    guard word.utf8.count <= 100 else { return nil }
    let editsMax = max(1, word.utf8.count / 3)
    var best: (edits: Int, candidate: String)?
    for candidate in candidates {
      let edits = edits(from: word, to: candidate)
      if edits <= editsMax, edits < best?.edits ?? .max { best = (edits, candidate) }
    }
    return best?.candidate
  }

  /// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
  static func edits(from first: String, to second: String) -> Int {
    let a = Array(first.utf8)
    let b = Array(second.utf8)
    var rows = [Array(0...b.count)]
    for i in 1..<(a.count + 1) {
      var row = [i]
      for j in 1..<(b.count + 1) {
        var edits = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
        if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { edits = min(edits, rows[i - 2][j - 2] + 1) }
        row.append(edits)
      }
      rows.append(row)
    }
    return rows[a.count][b.count]
  }
}
