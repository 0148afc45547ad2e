import KVModel

/// What nodes measured of themselves, and whether they agree.
extension Diagnosis {
  /// A clock is compared with the middle one, so that a wrong clock of this machine is told apart from a wrong node.
  var clocks: [Finding] {
    let read = survey.descriptions.compactMap { address, description in
      greetings[address].map { (description.member, $0) }
    }
    guard let middle = read.map(\.1.wallAheadMs).sorted().dropFirst(read.count / 2).first else { return [] }
    var findings: [Finding] = []
    for (member, greeting) in read {
      let ahead = greeting.wallAheadMs - middle
      let sure = Int64(ahead.magnitude) - greeting.uncertaintyMs
      // Half of what a node accepts in stamps of others is warned of; all of it makes writes fail.
      guard sure > Int64(Limits.clockLeadMsMax) / 2 else { continue }
      let weight: Finding.Weight = sure > Int64(Limits.clockLeadMsMax) ? .trouble : .warning
      let word = ahead > 0 ? "ahead of" : "behind"
      findings.append(
        Finding(
          weight, "clock_skew", member.name,
          "its clock is \(Units.span(ms: ahead.magnitude)) \(word) the others; writes are promised for "
            + "\(Limits.clockLeadMsMax) ms at the most",
          remedy: "ssh \(member.host) chronyc makestep"))
    }
    if Int64(middle.magnitude) > 1_000, read.count > 1 {
      findings.append(
        Finding(
          .note, "clock_here", nil,
          "this machine's clock differs from the nodes' by \(Units.span(ms: middle.magnitude))",
          remedy: "chronyc makestep"))
    }
    return findings
  }

  var disks: [Finding] {
    survey.descriptions.compactMap { _, description in
      let measured = description.measurements
      guard measured.diskTotalBytes > 0 else { return nil }
      let percent = measured.diskUsedBytes.multipliedReportingOverflow(by: 100).partialValue / measured.diskTotalBytes
      guard percent >= Diagnosis.diskPercent.warning || measured.isDiskNearlyFull else { return nil }
      let rest = Units.size(bytes: measured.diskTotalBytes - min(measured.diskTotalBytes, measured.diskUsedBytes))
      let isTrouble = percent >= Diagnosis.diskPercent.trouble || measured.isDiskNearlyFull
      return Finding(
        isTrouble ? .trouble : .warning, "disk_nearly_full", description.member.name,
        "its file system is \(percent) % full, \(rest) are left; "
          + (measured.isDiskNearlyFull
            ? "it refuses new values, deletes go on" : "from limits.disk_percent on it refuses new values"),
        remedy: "ssh \(description.member.host) df -h; its data take \(Units.size(bytes: measured.dataBytes))")
    }
  }

  /// What should be the same on every member.
  var agreement: [Finding] {
    guard let layout = health?.layout else { return [] }
    let members = survey.descriptions.map(\.1).filter { $0.cluster == layout.cluster }
    var findings: [Finding] = []
    for description in members where description.layoutVersion < layout.version {
      let address = description.member.clientAddress
      findings.append(
        Finding(
          .trouble, "layout_disagreement", description.member.name,
          "it is at layout \(description.layoutVersion), others are at \(layout.version)",
          remedy:
            "kvctl ring show --endpoints \(address), then: ssh \(description.member.host) systemctl restart kvnode"))
    }
    for (_, other) in survey.descriptions where other.cluster != layout.cluster && other.cluster != .none {
      findings.append(
        Finding(
          .warning, "other_cluster", other.member.name,
          "it is of cluster \(other.cluster), the others are of \(layout.cluster)",
          remedy: "take \(other.member.clientAddress) out of --endpoints"))
    }
    let sloppy = members.filter { !$0.syncs }.map(\.member.name)
    if !sloppy.isEmpty, sloppy.count < members.count {
      findings.append(
        Finding(
          .warning, "durability_differs", sloppy.joined(separator: ", "),
          "acknowledges before it syncs, unlike the others: a power cut there takes acknowledged writes back",
          remedy: "set durability: sync in its kvnode.yaml and restart it"))
    }
    let releases = Set(members.map(\.release)).sorted()
    if releases.count > 1 {
      findings.append(
        Finding(
          .note, "releases_differ", nil, "the nodes run releases \(releases.joined(separator: ", "))",
          remedy: "nothing during an upgrade; otherwise finish it"))
    }
    return findings
  }
}
