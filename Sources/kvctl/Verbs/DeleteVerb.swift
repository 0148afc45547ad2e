import ArgumentParser
import KVClient

struct DeleteVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Deletes a key.",
    discussion: """
      Without --context everything is deleted; with the context of a read, what was read. An absent key is no error.

      Example: kvctl delete user:1
      """)

  @OptionGroup var key: KeyArguments
  @OptionGroup var write: WriteOptions
  @OptionGroup var global: GlobalOptions

  mutating func prepare() throws(CommandFailure) {
    _ = try key.kvKey()
    _ = try write.level()
    _ = try write.kvContext()
  }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let (key, level, context) = (try key.kvKey(), try write.level(), try write.kvContext())
    let receipt = try await asking { () throws(KVError) in
      try await session.client.delete(key, context: context, consistency: level)
    }
    return ReceiptDocument.report("deleted", receipt, showContext: write.showContext)
  }
}
