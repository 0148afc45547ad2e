#!/usr/bin/env bash
# Compares `kvctl bench` with redis' own tool, both pointed at one redis: what the generator costs, and whether its figures
# can be believed. Some 20 s.
#
#   Scripts/bench-redis.sh [--rounds N] [--bin DIR]
#
#   --rounds N   rounds of each comparison (default 5); the tools take turns within a round, and the median of the rounds'
#                ratios is what counts, since machines are never quiet
#   --bin DIR    take kvctl from there (default: .build/release)
#
# Both: 64 connections, 1 KiB values, 100,000 keys, one second. Exit codes: 0 all ratios are within 15 % of 1, 9 they are
# not (busy machine? more rounds), 1 something failed, 2 usage.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

rounds=5 bin=$repo/.build/release

usage() { die_usage "$1; usage: Scripts/bench-redis.sh [--rounds N] [--bin DIR]"; }

parse() {
  while (($# > 0)); do
    (($# > 1)) || usage "$1 wants a value"
    case $1 in
      --rounds) [[ $2 =~ ^[1-9][0-9]*$ ]] || usage "--rounds $2 is no number" && rounds=$2 ;;
      --bin) bin=$(cd "$2" 2>/dev/null && pwd) || usage "no directory $2" ;;
      *) usage "unknown argument '$1'" ;;
    esac
    shift 2
  done
  [[ -x $bin/kvctl ]] || die "there is no $bin/kvctl; build it: swift build -c release --product kvctl"
  for tool in redis-server redis-benchmark redis-cli; do
    command -v $tool >/dev/null || die "$tool is not installed: apt-get install redis"
  done
}

server=''
# shellcheck disable=SC2317 # The trap calls it.
finish() {
  [[ -z $server ]] || kill -9 "$server" 2>/dev/null || true
  rm -rf "$scratch"
}

start_redis() {
  port=$((20000 + RANDOM % 10000))
  redis-server --port $port --bind 127.0.0.1 --save '' --appendonly no --dir "$scratch" >"$scratch/log" &
  server=$!
  wait_until 10000 grep -q 'Ready to accept' "$scratch/log" || die "redis does not start: $(tail -3 "$scratch/log")"
}

# Operations a second. The tools are told a number of requests, and a time: both come to about a second.
by_redis() { # COMMAND PIPELINE
  local count=60000
  (($2 == 1)) || count=250000
  redis-benchmark -p $port -c 64 -P "$2" -n $count -r 100000 -d 1024 -t "$1" --csv 2>/dev/null |
    awk -F'"' 'NR == 2 { print $4 }'
}
by_kvctl() { # COMMAND PIPELINE
  local workload=get
  [[ $1 == get ]] || workload=put
  "$bin/kvctl" bench --target "resp://127.0.0.1:$port" --workload $workload --distribution uniform --records 100000 \
    --clients 64 --pipeline "$2" --duration 1s --warmup 100ms --json 2>/dev/null |
    awk -F'[:,]' '/"operations_per_s"/ && !rate { rate = $2 } /"client_cpu_us_per_operation"/ { cpu = $2 }
      END { print rate + 0, cpu + 0 }'
}

median() { sort -n | awk '{ values[NR] = $1 } END { print values[int((NR + 1) / 2)] }'; }

compare() { # COMMAND PIPELINE
  local round theirs ours cpu
  local results=$scratch/results
  : >"$results"
  for ((round = 0; round < rounds; round++)); do
    theirs=$(by_redis "$1" "$2")
    read -r ours cpu < <(by_kvctl "$1" "$2")
    echo "$theirs $ours $cpu" >>"$results"
  done
  local ratio
  ratio=$(awk '{ printf "%.3f\n", $2 / $1 }' "$results" | median)
  printf '%-4s %8d %16.0f %16.0f %7.2f %14.1f\n' "$1" "$2" "$(awk '{ print $1 }' "$results" | median)" \
    "$(awk '{ print $2 }' "$results" | median)" "$ratio" "$(awk '{ print $3 }' "$results" | median)"
  awk -v ratio="$ratio" 'BEGIN { exit !(ratio >= 0.85 && ratio <= 1.15) }' || status=9
}

main() {
  parse "$@"
  scratch=$(mktemp -d)
  trap finish EXIT
  start_redis
  "$bin/kvctl" bench --target "resp://127.0.0.1:$port" --load --records 100000 --duration 0s --json >/dev/null 2>&1 ||
    die "the records cannot be loaded"
  status=0
  printf '%-4s %8s %16s %16s %7s %14s\n' '' pipeline redis-benchmark 'kvctl bench' ratio 'client µs/op'
  compare get 1
  compare set 1
  compare get 16
  compare set 16
  ((status == 0)) || complain "not all within 15 %: is the machine busy (load $(cut -d' ' -f1 /proc/loadavg))? try --rounds 15"
  exit $status
}

main "$@"
