/// Something that is not as it should be: what, why it matters, and what mends it.
struct Finding: Equatable {
  enum Weight: Int, Equatable {
    /// Worth knowing; nothing is broken.
    case note = 0
    case warning = 1
    /// Requests fail because of it, or will soon.
    case trouble = 2
  }

  var weight: Weight
  /// One word for scripts.
  var code: String
  /// The node or link that it is about, if it is about one.
  var subject: String?
  var cause: String
  /// A command to run as it stands, or the first thing to do.
  var remedy: String

  init(_ weight: Weight, _ code: String, _ subject: String?, _ cause: String, remedy: String) {
    self.weight = weight
    self.code = code
    self.subject = subject
    self.cause = cause
    self.remedy = remedy
  }

  func lines(_ colour: Colour) -> [String] {
    let mark =
      switch weight {
      case .note: "NOTE   "
      case .warning: colour.yellow("WARN") + "   "
      case .trouble: colour.red("TROUBLE")
      }
    return ["\(mark)  \(subject.map { "\($0): " } ?? "")\(cause)", "         mend it: \(remedy)"]
  }

  var json: JSON {
    let word =
      switch weight {
      case .note: "note"
      case .warning: "warning"
      case .trouble: "trouble"
      }
    return .object([
      ("weight", .text(word)), ("code", .text(code)), ("subject", .optional(subject) { .text($0) }),
      ("cause", .text(cause)), ("remedy", .text(remedy)),
    ])
  }
}
