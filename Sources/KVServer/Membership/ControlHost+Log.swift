import KVCore
import KVModel
import Logging

// What `Control` notes, as lines of the log.
extension ControlHost {
  func note(_ event: Control.Event) {
    switch event {
    case .peerUp(let id, let name): logger.info("a peer is up", metadata: ["peer": "\(name)", "id": "\(id)"])
    case .peerUnreachable(let id, let name):
      logger.warning("a peer is unreachable", metadata: ["peer": "\(name)", "id": "\(id)"])
    case .peerReplaced(let id, let name, let detail):
      logger.error(
        """
        a peer's address is answered by a node that is no member: its data directory was lost or replaced; it takes no \
        part until its data are restored
        """,
        metadata: ["peer": "\(name)", "id": "\(id)", "detail": "\(detail)"])
    case .joined(let cluster, let version, let members):
      logger.info(
        "this node is a member",
        metadata: ["cluster": "\(cluster)", "layout": "\(version)", "members": "\(members)"])
    case .settingsDiffer(let configured, let layout):
      logger.warning(
        "the configuration's cluster section differs from the layout, which rules",
        metadata: ["configured": "\(configured)", "layout": "\(layout)"])
    case .stranger(let expected, let cluster):
      logger.error(
        """
        this node is not a member: a cluster expects another node id at this address, and this data directory is new; \
        stop this node and restore the old data directory, or wait for the release that can replace a node
        """,
        metadata: ["expected": "\(expected)", "cluster": "\(cluster)"])
    case .diskRoom(.reserveOnly(let usedPercent, let resumesBelow)):
      logger.error(
        "the disk is nearly full: values of clients are refused; reads, deletes, repair and other nodes' writes go on",
        metadata: ["used_percent": "\(usedPercent)", "resumes_below_percent": "\(resumesBelow)"])
    case .diskRoom(.enough): logger.info("the disk has room again: values of clients are taken")
    case .confirmed(let generation):
      logger.info("this start is confirmed by a majority", metadata: ["generation": "\(generation.number)"])
    case .overtaken(by: let known, saysPeer: let name):
      logger.error(
        """
        this node's data went back in time: a peer knows of a later start of it; an old copy of the data directory was \
        restored, or another process runs with a copy of it; this node takes no part until no other process of it has \
        been heard of for a while, and then rebuilds its copies from its peers; if the latest data directory is still \
        there, stop this node and put it back
        """,
        metadata: ["peer": "\(name)", "known": "\(known.number)"])
    case .wentBack(saysPeer: let name):
      logger.error(
        """
        this node's data went back in time: a peer holds versions of its own that it has not minted; an old copy of the \
        data directory was restored, or another process runs with a copy of it; this node takes no part until no other \
        process of it has been heard of for a while, and then rebuilds its copies from its peers; if the latest data \
        directory is still there, stop this node and put it back
        """,
        metadata: ["peer": "\(name)"])
    case .begunAnew(let generation, after: let known):
      logger.warning(
        "no other process of this node is heard of: it goes on, and rebuilds all of its copies from its peers",
        metadata: ["generation": "\(generation.number)", "after": "\(known.number)"])
    case .peerOvertaken(let id, let name, claimed: let claimed, known: let known):
      logger.error(
        "a peer's data went back in time, or there are two of it; it takes no part yet",
        metadata: ["peer": "\(name)", "id": "\(id)", "claimed": "\(claimed.number)", "known": "\(known.number)"])
    case .member(let id, let name, let state): note(id, name, state)
    case .moved(let id, let name, peerAddress: let address):
      logger.info(
        "a member has another address now", metadata: ["peer": "\(name)", "id": "\(id)", "address": "\(address)"])
    case .layout(let id, let name, differs: true):
      logger.warning("a member lives by another layout", metadata: ["peer": "\(name)", "id": "\(id)"])
    case .layout(let id, let name, differs: false):
      logger.info("a member lives by this layout again", metadata: ["peer": "\(name)", "id": "\(id)"])
    case .duplicate(saysPeer: let name, detail: let detail):
      logger.error(
        """
        another process runs with this node's id: this one was started from a copy of its data directory, or before it \
        had ended; this one gets no links while the other one answers; stop one of them
        """,
        metadata: ["peer": "\(name)", "detail": "\(detail)"])
    case .learnt(let cluster, let version, let members, from: let seed):
      logger.info(
        "a seed knows a cluster; this node is no member of it until a layout lists it",
        metadata: ["seed": "\(seed)", "cluster": "\(cluster)", "layout": "\(version)", "members": "\(members)"])
    case .seed(let fault, at: let seed): note(fault, seed)
    }
  }

  private func note(_ id: NodeID, _ name: String, _ state: MemberEntry.State) {
    let metadata: Logger.Metadata = ["peer": "\(name)", "id": "\(id)"]
    switch state {
    case .alive: logger.info("a member lives", metadata: metadata)
    case .suspect: logger.info("a member is suspected: somebody got no answer from it", metadata: metadata)
    case .dead: logger.warning("a member is dead: nobody got an answer from it", metadata: metadata)
    }
  }

  private func note(_ fault: Control.SeedFault, _ seed: Address) {
    let metadata: Logger.Metadata = ["seed": "\(seed)"]
    switch fault {
    case .hasNoCluster:
      logger.info("a seed belongs to no cluster yet; form one with: kvctl cluster init", metadata: metadata)
    case .isSelf:
      logger.warning("a seed is this node itself; name other nodes in `seeds`", metadata: metadata)
    case .otherCluster(let its, own: let own):
      logger.error(
        "a seed belongs to another cluster; this node does not join it; correct `seeds`, or empty its data directory",
        metadata: ["seed": "\(seed)", "its": "\(its)", "own": "\(own)"])
    case .refused(let refusal):
      logger.error(
        "a seed refuses this node",
        metadata: ["seed": "\(seed)", "reason": "\(refusal.reason)", "detail": "\(refusal.detail)"])
    }
  }
}
