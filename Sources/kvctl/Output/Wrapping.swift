/// Long lines for a terminal: broken between words, the rest under where the text begins.
///
/// ```
///   TROUBLE  n3: nobody reaches it for 7s: cannot connect to 127.0.0.1:8340:
///            Connection refused
/// ```
enum Wrapping {
  /// A place on the screen: a character, and the colours that change in front of it.
  private struct Cell {
    var character: Character
    var colours = ""
  }

  /// Text that begins further to the right than this is no text behind a mark.
  private static let hangMax = 12

  static func lines(_ text: String, width: Int) -> [String] {
    var (rest, end) = cells(of: text)
    guard rest.count > width, width > 2 * hangMax else { return [text] }
    let margin = [Cell](repeating: Cell(character: " "), count: hang(of: rest))
    var lines: [String] = []
    while rest.count > width, let place = breakPlace(in: rest, width: width, after: margin.count) {
      lines.append(string(rest[..<place]))
      rest = margin + rest[place...].drop { $0.character == " " }
    }
    return lines + [string(rest[...]) + end]
  }

  /// Between two parts of a line if there is such a place in its second half, else between two words; behind a word that
  /// is longer than the line.
  private static func breakPlace(in cells: [Cell], width: Int, after margin: Int) -> Int? {
    func isSpace(_ place: Int) -> Bool { cells[place].character == " " }
    let fitting = (margin + 1...width).reversed()
    if let place = fitting.first(where: {
      isSpace($0) && isSpace($0 - 1) && !isSpace($0 + 1 < cells.count ? $0 + 1 : $0)
    }),
      place > width / 2
    {
      return place - 1
    }
    return fitting.first(where: isSpace) ?? cells.indices.dropFirst(width).first(where: isSpace)
  }

  /// How far the text is from the left: behind spaces, or behind a mark and two spaces.
  private static func hang(of cells: [Cell]) -> Int {
    let indent = cells.prefix { $0.character == " " }.count
    if indent > 0 { return min(indent, hangMax) }
    let mark = cells.prefix { $0.character != " " }.count
    let text = mark + cells[mark...].prefix { $0.character == " " }.count
    return text - mark >= 2 && text <= hangMax ? text : 0
  }

  /// The cells, and the colours behind the last of them.
  private static func cells(of text: String) -> ([Cell], String) {
    var (cells, colours, isColour): ([Cell], String, Bool) = ([], "", false)
    for character in text {
      if character == "\u{1b}" || isColour {
        colours.append(character)
        isColour = character != "m"
      } else {
        cells.append(Cell(character: character, colours: colours))
        colours = ""
      }
    }
    return (cells, colours)
  }

  private static func string(_ cells: ArraySlice<Cell>) -> String {
    cells.reduce(into: "") { $0 += $1.colours + String($1.character) }
  }
}
