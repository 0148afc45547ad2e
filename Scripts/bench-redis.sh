#!/usr/bin/env bash
# Compares `kvctl bench` with redis' own tool and redis' own counts, both tools pointed at one redis: what the generator
# costs, and whether its figures can be believed. Some 40 s.
#
#   Scripts/bench-redis.sh [--rounds N] [--bin DIR]
#
#   --rounds N   rounds of each comparison (default 5); the tools take turns within a round, and the median of the rounds'
#                ratios is what counts, since machines are never quiet
#   --bin DIR    take kvctl from there (default: .build/release)
#
# Both: 64 connections, 1 KiB values, 100,000 keys, one second. redis has a third of a processor, the tools another one: so
# redis is the limit, whoever asks. With a whole one redis-benchmark itself is the limit when nothing is pipelined (it needs
# more than 90 % of its processor then, and redis does not), and `kvctl bench` gets a third more out of the same redis.
#
# Exit codes: 0 all ratios are within 15 % of 1, and redis counted what kvctl says; 9 they are not (busy machine? more
# rounds), 1 something failed, 2 usage.
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
  mapfile -t processors < <(taskset -pc $$ | sed 's/.*: //' | tr , '\n' |
    while IFS=- read -r first last; do seq "$first" "${last:-$first}"; done)
  ((${#processors[@]} >= 2)) || die "two processors are needed: one for redis, one for the tools"
}

server='' rivals=()
# shellcheck disable=SC2317 # The trap calls it.
finish() {
  kill -9 ${server:+"$server"} ${rivals[@]+"${rivals[@]}"} 2>/dev/null || true
  rm -rf "$scratch"
}

start_redis() {
  port=$((20000 + RANDOM % 10000))
  taskset -c "${processors[0]}" redis-server --port $port --bind 127.0.0.1 --save '' --appendonly no --dir "$scratch" >"$scratch/log" &
  server=$!
  # Who take the other two thirds of redis' processor.
  for _ in 1 2; do
    taskset -c "${processors[0]}" sh -c 'while :; do :; done' &
    rivals+=($!)
    disown
  done
  wait_until 10000 grep -q 'Ready to accept' "$scratch/log" || die "redis does not start: $(tail -3 "$scratch/log")"
}

beside() { taskset -c "${processors[1]}" "$@"; }

# Operations a second. The tools are told a number of requests, and a time: both come to about a second.
by_redis() { # COMMAND PIPELINE
  local count=60000
  (($2 == 1)) || count=250000
  beside redis-benchmark -p $port -c 64 -P "$2" -n $count -r 100000 -d 1024 -t "$1" --csv 2>/dev/null |
    awk -F'"' 'NR == 2 { print $4 }'
}

# Operations a second, µs of CPU for one, and how many there were.
by_kvctl() { # COMMAND PIPELINE
  local workload=get
  [[ $1 == get ]] || workload=put
  beside "$bin/kvctl" bench --target "resp://127.0.0.1:$port" --workload $workload --distribution uniform \
    --records 100000 --clients 64 --pipeline "$2" --duration 1s --warmup 0s --json 2>/dev/null |
    awk -F'[:,]' '/"operations"/ && !count { count = $2 } /"operations_per_s"/ && !rate { rate = $2 }
      /"client_cpu_us_per_operation"/ { cpu = $2 } END { print rate + 0, cpu + 0, count + 0 }'
}

# How many such commands redis has answered since this was last asked.
counted_by_redis() { # COMMAND
  redis-cli -p $port info commandstats | sed -n "s/^cmdstat_$1:calls=\\([0-9]*\\).*/\\1/p"
  redis-cli -p $port config resetstat >/dev/null
}

median() { sort -n | awk '{ values[NR] = $1 } END { print values[int((NR + 1) / 2)] }'; }

miscount() { # COMMAND PIPELINE COUNT COUNTED
  complain "kvctl bench says $3 times $1, $2 in a pipeline; redis counted $4"
  status=9
}

compare() { # COMMAND PIPELINE
  local round theirs ours cpu count counted
  local results=$scratch/results
  : >"$results"
  for ((round = 0; round < rounds; round++)); do
    theirs=$(by_redis "$1" "$2")
    counted_by_redis "$1" >/dev/null
    read -r ours cpu count < <(by_kvctl "$1" "$2")
    counted=$(counted_by_redis "$1")
    # Those that were under way when the second was over are redis' alone.
    ((counted >= count && counted <= count + 64 * $2)) || miscount "$1" "$2" "$count" "$counted"
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
  redis-benchmark -p $port -c 64 -P 16 -n 500000 -r 100000 -d 1024 -t set --csv >/dev/null 2>&1 || die "redis-benchmark fails"
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
