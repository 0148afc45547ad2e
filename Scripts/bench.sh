#!/usr/bin/env bash
# Measurements of whole clusters on this machine. `Scripts/bench.sh help` tells the verbs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

usage() {
  cat <<'EOT2'
usage: Scripts/bench.sh VERB

  heal [--rounds 5] [--json FILE] [--only deaths|reroute|away|rebuild|divergence]…
                how long until a death is known, and until clients feel nothing more of a paused node; a node that was away while
                RINGKV_KEYS distinct keys were written, until it has them, and what clients at RINGKV_RATE operations a
                second feel of it; a node on an old image of its data, until it has pulled its whole copy; one key among a million that
                differs. Exits with 9 when a figure misses what is asked. 8 minutes or so
  compare [--seconds 15] [--rounds 3] [--json FILE] [--only ROW]… [--without-etcd]
                three nodes beside Debian's redis-server (without a log, and with one synced before each answer) and three
                of its etcd, on loopback, by the same load generator, row by row and round by round; medians, a table, and
                what of the asked figures holds. About 25 minutes
  engine        the storage seam against db_bench in one run: put, put synced in batches of 128, get; RocksDB's cost of each
  change [--before DIR] [--workload put] [--durability os] [--seconds 4] [--rounds 5]
                this build beside the programs in DIR and redis, in turn: throughput, and what an operation costs the
                servers: CPU by node, context switches, operations of a batch
  count [--seconds 5]
                what a request costs, counted in the nodes: allocations, copies, retains, system calls, wakes
  profile get|put
                where the servers' cycles go under that load: perf, by library and by function

environment:
  RINGKV_KEYS        keys that are written while a node is away (default 240000)
  RINGKV_REBUILD_KEYS  values of 4 KiB of the row `rebuild` (default 100000)
  RINGKV_RATE        operations a second of the clients (default 2000, half of them writes)
  RINGKV_DATA        where the cluster is kept (default .build/bench); emptied first
  RINGKV_PORT        as for Scripts/cluster.sh (default 7810)
  RINGKV_BIN, RINGKV_SCRATCH, RINGKV_BUILD   as for Scripts/cluster.sh
  RINGKV_TEST_SCRATCH, RINGKV_TEST_FLAGS     scratch path and further flags of `swift test`, for the row `divergence`
EOT2
}

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

# --- heal ----------------------------------------------------------------------------------------------------------

heal() {
  command -v python3 >/dev/null || as_root apt-get install -y --no-install-recommends python3 >/dev/null 2>&1 ||
    die "apt-get could not install python3"
  build_programs
  build_program kvsim
  find_swift
  local tests="swift test -c release -Xswiftc -enable-testing --package-path $repo"
  tests+=" --scratch-path ${RINGKV_TEST_SCRATCH:-${RINGKV_SCRATCH:-$repo/.build}}"
  case $RINGKV_DATA in
    */bench*) ;;
    *) die "RINGKV_DATA=$RINGKV_DATA would be emptied; give a directory whose name begins with 'bench'" ;;
  esac
  python3 "$repo/Scripts/bench/heal.py" --bin "$(bin_path)" --data "$RINGKV_DATA" --tests "$tests ${RINGKV_TEST_FLAGS:-}" "$@"
}

# --- compare, engine, profile ----------------------------------------------------------------------------------------

install_rivals() {
  local missing=()
  command -v redis-server >/dev/null || missing+=(redis-server)
  command -v etcd >/dev/null || missing+=(etcd-server)
  command -v etcdctl >/dev/null || missing+=(etcd-client)
  command -v python3 >/dev/null || missing+=(python3)
  ((${#missing[@]} == 0)) && return
  step "installing ${missing[*]}"
  as_root apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
    die "apt-get could not install ${missing[*]}"
}

compare() {
  install_rivals
  build_programs
  python3 "$repo/Scripts/bench/compare.py" --bin "$(bin_path)" --data "$RINGKV_DATA" "$@"
}

change() {
  install_rivals
  build_programs
  python3 "$repo/Scripts/bench/change.py" --bin "$(bin_path)" --data "$RINGKV_DATA" "$@"
}

engine() {
  command -v db_bench >/dev/null || as_root apt-get install -y --no-install-recommends rocksdb-tools >/dev/null 2>&1 ||
    die "apt-get could not install rocksdb-tools, which has db_bench"
  local scratch=$RINGKV_DATA/db common
  find_swift
  mkdir -p "$RINGKV_DATA"
  common=(--db="$scratch" --num=200000 --key_size=16 --value_size=1024 --compression_type=lz4 --cache_size=536870912
    --write_buffer_size=67108864 --bloom_bits=10 --allow_concurrent_memtable_write=false --stats_interval=0)
  step "the storage seam"
  RINGKV_BENCH=1 swift test -c release -Xswiftc -enable-testing --package-path "$repo" --scratch-path "${RINGKV_SCRATCH:-$repo/.build}" \
    --filter StorageBench 2>/dev/null | grep '^BENCH' || die "the storage bench could not be run"
  step "db_bench"
  rm -rf "$scratch"
  db_bench "${common[@]}" --benchmarks=fillrandom,overwrite --batch_size=32 2>/dev/null | grep micros
  db_bench "${common[@]}" --benchmarks=overwrite --batch_size=128 --sync --use_existing_db --num=50000 2>/dev/null | grep micros
  db_bench "${common[@]}" --benchmarks=readrandom --use_existing_db 2>/dev/null | grep micros
  rm -rf "$scratch"
}

count() {
  local shim=$RINGKV_DATA/count.so compiler
  command -v python3 >/dev/null || die "python3 is missing: apt-get install python3"
  find_swift
  compiler=$(command -v clang || command -v cc) || die "a C compiler is missing; clang comes with the Swift toolchain"
  build_programs
  mkdir -p "$RINGKV_DATA"
  # RTLD_NEXT, without the feature macro that the C library hides it behind.
  "$compiler" -std=c11 -O2 -Wall -Wextra -Werror -U_FORTIFY_SOURCE -fno-builtin -D_DEFAULT_SOURCE "-DRTLD_NEXT=((void *)-1l)" \
    -shared -fPIC -o "$shim" "$repo/Scripts/bench/count.c" -ldl || die "the counters could not be compiled"
  python3 "$repo/Scripts/bench/count.py" --bin "$(bin_path)" --shim "$shim" --data "$RINGKV_DATA" "$@"
}

profile() {
  [[ ${1:-} == get || ${1:-} == put ]] || die_usage "profile: get or put?"
  command -v perf >/dev/null || die "perf is missing: apt-get install linux-perf"
  build_programs
  begin
  kvctl bench --load --workload get --duration 1s >/dev/null 2>&1 || die "the load failed"
  kvctl bench --workload "$1" --duration 12s >/dev/null 2>&1 &
  local load=$! pids
  pids=$(for i in 1 2 3; do cluster pid "$i"; done | paste -sd,)
  sleep 2
  perf record -o "$RINGKV_DATA/perf.data" -F 499 -g -p "$pids" -- sleep 8 >/dev/null 2>&1 || die "perf could not record"
  wait "$load"
  perf report -i "$RINGKV_DATA/perf.data" --no-children -g none --sort dso 2>/dev/null | grep -v '^#' | grep -v '^$' | head -8
  perf report -i "$RINGKV_DATA/perf.data" --no-children -g none --sort sym --percent-limit 0.5 2>/dev/null |
    grep -v '^#' | grep -v '^$' | swift-demangle -simplified | cut -c1-140
}

case ${1:-} in
  heal | compare | change | engine | count | profile)
    verb=$1
    shift
    "$verb" "$@"
    ;;
  help | -h | --help) usage ;;
  *)
    [[ -z ${1:-} ]] || complain "no verb '$1'"
    usage >&2
    exit 2
    ;;
esac
