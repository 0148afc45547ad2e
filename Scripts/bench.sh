#!/usr/bin/env bash
# Measurements of whole clusters on this machine. `Scripts/bench.sh help` tells the verbs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

usage() {
  cat <<'EOT2'
usage: Scripts/bench.sh VERB

  heal          three nodes; one is away while RINGKV_KEYS distinct keys are written; from its return until no hint is
                left for it, and what clients at RINGKV_RATE operations a second feel of it, against before

environment:
  RINGKV_KEYS        keys that are written while a node is away (default 240000)
  RINGKV_RATE        operations a second of the clients (default 2000, half of them writes)
  RINGKV_VALUE_SIZE  bytes of a value (default 1024)
  RINGKV_DATA        where the cluster is kept (default .build/bench); emptied first
  RINGKV_PORT        as for Scripts/cluster.sh (default 7810)
  RINGKV_BIN, RINGKV_SCRATCH, RINGKV_BUILD   as for Scripts/cluster.sh
EOT2
}

keys=${RINGKV_KEYS:-240000}
rate=${RINGKV_RATE:-2000}
value_size=${RINGKV_VALUE_SIZE:-1024}
export RINGKV_DATA=${RINGKV_DATA:-$repo/.build/bench} RINGKV_PORT=${RINGKV_PORT:-7810}
[[ $RINGKV_DATA == /* ]] || RINGKV_DATA=$PWD/$RINGKV_DATA

cluster() { "$repo/Scripts/cluster.sh" "$@"; }
kvctl() { "$(bin_path)/kvctl" "$@"; }

# A fresh cluster of three, stopped again whatever happens.
begin() {
  case $RINGKV_DATA in
    */bench*) ;;
    *) die "RINGKV_DATA=$RINGKV_DATA would be emptied; give a directory whose name begins with 'bench'" ;;
  esac
  cluster stop >/dev/null 2>&1 || true
  rm -rf "$RINGKV_DATA"
  trap 'cluster stop >/dev/null 2>&1 || true' EXIT
  cluster start 3
  KVCTL_ENDPOINTS=$(cluster endpoints)
  export KVCTL_ENDPOINTS
}

# field NAME: the first number of that name in the JSON on stdin.
field() { awk -F'[:, ]+' -v name="\"$1\"" '{ for (i = 1; i < NF; i++) if ($i == name) { print $(i + 1); exit } }'; }

# p99 KIND FILE: milliseconds, of a report of kvctl bench.
p99() {
  awk -F'[:, ]+' -v kind="\"$1\"" '
    { for (i = 1; i < NF; i++) {
        if ($i == "\"kind\"") here = ($(i + 1) == kind)
        if ($i == "\"p99_us\"" && here) { printf "%.2f", $(i + 1) / 1000; exit } } }' "$2"
}
kinds() { awk -F'[:, "]+' '{ for (i = 1; i < NF; i++) if ($i == "kind") print $(i + 1) }' "$1" | sort -u; }

# foreground SECONDS FILE: what clients feel.
foreground() {
  kvctl bench --workload a --records 20000 --value-size "$value_size" --rate "$rate" --clients 32 \
    --duration "${1}s" --warmup 1s --json >"$2" 2>/dev/null || die "the clients' load failed; see $2"
}

hints_left() { kvctl hints list --json 2>/dev/null | field keys_waiting; }
no_hints_left() { [[ $(hints_left) == 0 ]]; }

# --- heal ----------------------------------------------------------------------------------------------------------

heal() {
  build_programs
  begin
  local before=$RINGKV_DATA/before.json during=$RINGKV_DATA/during.json after=$RINGKV_DATA/after.json
  step "20,000 records, and clients at $rate operations a second with all nodes there"
  kvctl bench --load --records 20000 --value-size "$value_size" --duration 0s --json >/dev/null 2>&1 || die "the load failed"
  foreground 15 "$before"
  step "n3 is killed; $keys keys are written without it"
  cluster kill 3
  local written
  written=$(now_ms)
  kvctl bench --load --records "$keys" --key-size 24 --value-size "$value_size" --clients 64 --duration 0s --json \
    >"$RINGKV_DATA/load.json" 2>/dev/null || die "the keys could not be written; see $RINGKV_DATA/load.json"
  written=$(($(now_ms) - written))
  sleep 1
  local waiting
  waiting=$(hints_left)
  step "n3 starts; $waiting hints wait for it"
  cluster restart 3
  local returned healed
  returned=$(now_ms)
  foreground 12 "$during" &
  local load=$!
  wait_until 300000 no_hints_left || die "hints are left after five minutes: $(kvctl hints list || true)"
  healed=$(($(now_ms) - returned))
  wait "$load"
  step "after"
  foreground 10 "$after"
  printf 'heal: %s keys of %s bytes, written in %d.%d s while n3 was away; %s hints\n' \
    "$keys" "$value_size" $((written / 1000)) $((written % 1000 / 100)) "$waiting"
  printf 'heal: no hints left %d.%d s after the return (target 30 s for 240000)\n' $((healed / 1000)) $((healed % 1000 / 100))
  local kind
  for kind in $(kinds "$before"); do
    printf 'heal: p99 of %s at %s/s: %s ms before, %s ms during, %s ms after (target twice or +2 ms)\n' \
      "$kind" "$rate" "$(p99 "$kind" "$before")" "$(p99 "$kind" "$during")" "$(p99 "$kind" "$after")"
  done
}

case ${1:-} in
  heal) heal ;;
  help | -h | --help) usage ;;
  *)
    [[ -z ${1:-} ]] || complain "no verb '$1'"
    usage >&2
    exit 2
    ;;
esac
