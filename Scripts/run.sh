#!/usr/bin/env bash
# From a clone to a loaded cluster: sets up, builds, starts three nodes on this machine, forms the cluster, imports real
# data, reads some of it back, and leaves the cluster running.
#
#   Scripts/run.sh [FILE]
#
# FILE: JSON Lines of {"key": …, "value": …}, or key and value with a tab between them if it is called *.tsv.
# Without it: Debian's own package index, some 60,000 records.
# The environment is that of Scripts/cluster.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cluster=$repo/Scripts/cluster.sh
work=$repo/.build/run

# --- the data ------------------------------------------------------------------------------------------------------

count_packages() { apt-cache dumpavail 2>/dev/null | grep -c '^Package: ' || true; }

# Without lists (a fresh container) apt knows no more than what is installed.
fetch_index() {
  command -v apt-cache >/dev/null || die "no apt-cache: this is not Debian. Give a file: Scripts/run.sh FILE"
  (($(count_packages) < 20000)) || return 0
  step "fetching Debian's package lists"
  as_root apt-get update >/dev/null 2>&1 </dev/null || complain "apt-get update failed; going on with what is here"
  (($(count_packages) >= 1000)) || die "Debian's package index is empty here. Give a file: Scripts/run.sh FILE"
}

make_data() {
  fetch_index
  file=$work/packages.jsonl
  apt-cache dumpavail |
    LC_ALL=C awk -v every=9000 -v samples="$work/samples" -f "$repo/Scripts/packages.awk" >"$file"
  shown_key=deb:bash
  local size
  size=$(wc -c <"$file")
  step "made $(wc -l <"$file") records of Debian's package index, $((size >> 20)) MiB: $file"
}

# Samples of somebody else's file: the last value of its first plain keys, as long as they can be had without a parser.
sample_file() {
  LC_ALL=C awk -v samples="$work/samples" -v tsv="$([[ $file == *.tsv ]] && echo 1)" '
    function plain(line) { return match(line, /^\{"key": ?"[^"\\]+", ?"value": ?"[^"\\]*"\}\r?$/) }
    index($0, "\\") { next }
    tsv && split($0, part, "\t") == 2 { key = part[1]; value = part[2] }
    !tsv { if (!plain($0)) next; split($0, part, "\""); key = part[4]; value = part[8] }
    tsv && split($0, part, "\t") != 2 { next }
    key in last || count < 5 { if (!(key in last)) { count++; order[count] = key }; last[key] = value }
    END {
      for (i = 1; i <= count; i++) {
        printf "%s", order[i] > (samples "/" i ".key")
        printf "%s", last[order[i]] > (samples "/" i ".value")
      }
    }' "$file"
}

# --- reading back --------------------------------------------------------------------------------------------------

ctl() { "$bin/kvctl" --endpoints "$endpoints" "$@"; }

read_back() {
  local key_file same=0
  for key_file in "$work"/samples/*.key; do
    [[ -e $key_file ]] || { step "no record of this file can be compared without a parser: nothing read back"; return; }
    sample_key=$(<"$key_file")
    ctl get "$sample_key" >"$work/got" 2>/dev/null </dev/null || die "kvctl get '$sample_key' failed (exit code $?)"
    cmp -s "$work/got" "${key_file%.key}.value" || die "'$sample_key' came back other than it went in: $work/got"
    same=$((same + 1))
  done
  step "read $same records back, each as it went in (the last: $sample_key)"
}

# --- the end -------------------------------------------------------------------------------------------------------

show_next() {
  local shown_bin=${bin#"$PWD"/} shown_cluster=Scripts/cluster.sh
  [[ $PWD == "$repo" ]] || shown_cluster=$cluster
  local key=${shown_key:-${sample_key:-some-key}}
  cat <<EOT

The cluster runs. Try next:

  export KVCTL_ENDPOINTS=$endpoints
  $shown_bin/kvctl get $key
  $shown_bin/kvctl put greeting 'hello, ring'
  $shown_bin/kvctl ring locate $key
  $shown_cluster kill 2                  # SIGKILL to node 2: everything goes on
  $shown_bin/kvctl get $key
  $shown_bin/kvctl explain greeting      # what each replica holds
  $shown_cluster restart 2
  $shown_bin/kvctl status
  $shown_cluster stop                    # $shown_cluster help tells the rest
EOT
}

main() {
  (($# <= 1)) || die_usage "usage: Scripts/run.sh [FILE]"
  case ${1:-} in -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit ;; esac
  file=${1:-}
  [[ -z $file || -r $file ]] || die_usage "cannot read '$file'"
  step "setting up"
  "$repo/Scripts/setup.sh" run
  rm -rf "$work"
  mkdir -p "$work/samples"
  step "building $configuration"
  build_programs
  step "starting three nodes"
  "$cluster" start 3
  bin=$(bin_path)
  endpoints=$("$cluster" endpoints)
  sample_key='' shown_key=''
  if [[ -n $file ]]; then sample_file; else make_data; fi
  step "importing $file"
  local format=jsonl
  [[ $file != *.tsv ]] || format=tsv
  ctl import "$file" --format "$format" >&2 </dev/null || die "the import failed (exit code $?); the cluster is left running"
  step "imported"
  read_back
  ctl status || complain "kvctl status failed (exit code $?)"
  show_next
}

main "$@"
