/// Rows under a heading, in columns two spaces apart.
struct Table {
  var heading: [String]
  var rows: [[String]] = []

  init(_ heading: [String]) { self.heading = heading }

  /// `style` colours a cell after its width was taken.
  func lines(style: (_ cell: String, _ column: Int) -> String = { cell, _ in cell }) -> [String] {
    let all = [heading] + rows
    let widths = heading.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return all.enumerated().map { place, row in
      var line = ""
      for (column, cell) in row.enumerated() {
        line += place == 0 ? cell : style(cell, column)
        if column < row.count - 1 { line += String(repeating: " ", count: widths[column] - cell.count + 2) }
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}
