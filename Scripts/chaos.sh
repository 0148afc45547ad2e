#!/usr/bin/env bash
# Real nodes under load and faults, and what their clients saw held against the promises.
#
#   Scripts/chaos.sh [--minutes M] [--seed N] [--nodes K] [--no-netns] [--no-power] [--keep]
#   Scripts/chaos.sh --selftest
#
#   --minutes M   how long faults are injected (default 1); fractions are fine
#   --seed N      what the faults and the load are drawn from (default: a new one); the same faults come at the same times
#   --nodes K     nodes of the cluster (default 3); three copies of each key, two for a quorum
#   --no-netns    all nodes on the loopback interface: processes are killed and stopped, links stay whole
#   --no-power    without the fault shim: a killed node finds again what it had not synced, and no clock goes wrong
#   --schedule F  the faults of this file, as `kvsim schedule` prints them, in place of drawn ones
#   --durability  sync (default), or os: nodes acknowledge what they have not synced, and power cuts lose it
#   --keep        keep the history, logs and data, which are removed when all was well
#   --selftest    half a minute: power fails everywhere, twice, for nodes that sync and for nodes that do not. The check
#                 must see the loss, and no loss where there is none
#
# Every node and the clients get a network namespace of their own, where the machine allows it (root, `ip netns`, nft).
# Also: --clients C, --keys K, --rate R, --no-receipts, as `kvsim load` has them. The environment: RINGKV_BUILD, RINGKV_BIN,
# RINGKV_SCRATCH as in Scripts/cluster.sh.
#
# After the last fault the copies must become equal by themselves within a minute, before anything is read: no hint waits,
# and `kvctl repair verify` agrees. Only then every key is read from all of its owners.
#
# Exit codes: 0 all held, 1 a safety violation, 2 usage, or it could not be run, 3 it did not heal or serve again after the
# faults, or a node did not leave, 4 a node ended by itself.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/chaos-lib.sh"

# Here 1 means a violation: what cannot be run ends with 2.
die() { die_usage "$@"; }

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; }

read_arguments() {
  minutes=1 seed='' nodes=3 wants_netns=yes wants_power=yes keep='' selftest='' load_options=()
  given_schedule='' durability=sync
  while (($# > 0)); do
    case $1 in
      --no-netns) wants_netns='' ;;
      --no-power) wants_power='' ;;
      --no-receipts) load_options+=(--no-receipts) ;;
      --keep) keep=yes ;;
      --selftest) selftest=yes ;;
      -h | --help) usage; exit ;;
      --minutes | --seed | --nodes | --schedule | --durability | --clients | --keys | --rate)
        (($# > 1)) || die_usage "$1 wants a value"
        case $1 in
          --minutes) minutes=$2 ;;
          --seed) seed=$2 ;;
          --nodes) nodes=$2 ;;
          --schedule) given_schedule=$2 ;;
          --durability) durability=$2 ;;
          *) load_options+=("$1" "$2") ;;
        esac
        shift
        ;;
      *) die_usage "no option '$1'; see Scripts/chaos.sh --help" ;;
    esac
    shift
  done
  check_arguments
}

check_arguments() {
  [[ $minutes =~ ^[0-9]{1,5}(\.[0-9]{1,3})?$ ]] || die_usage "--minutes $minutes is no number of minutes"
  if [[ ! $nodes =~ ^[1-9][0-9]?$ ]] || ((nodes < 3 || nodes > 16)); then die_usage "--nodes $nodes: from 3 to 16"; fi
  seconds=$(awk -v m="$minutes" 'BEGIN { printf "%d", m * 60 }')
  ((seconds >= 10)) || die_usage "--minutes $minutes: at least 0.2"
  [[ -z $given_schedule || -r $given_schedule ]] || die_usage "cannot read '$given_schedule'"
  [[ $durability == sync || $durability == os ]] || die_usage "--durability $durability: sync or os"
  [[ -n $seed ]] || seed=$(((RANDOM << 15 | RANDOM) + 1))
  [[ $seed =~ ^[0-9]{1,18}$ ]] || die_usage "--seed $seed is no number"
}

# --- the run -------------------------------------------------------------------------------------------------------

prepare() {
  # `test` has ip and nft.
  "$repo/Scripts/setup.sh" --quiet "$(if [[ -n $wants_netns ]]; then echo test; else echo run; fi)"
  PATH=$PATH:/usr/sbin:/sbin
  build_programs
  build_program kvsim
  bin=$(bin_path)
  bin=$(cd "$bin" && pwd)
  shim=''
  if [[ -n $wants_power ]]; then shim=$("$repo/Tests/FaultShim/build.sh") || die "the fault shim could not be built; go without: --no-power"; fi
  has_netns=no
  if [[ -n $wants_netns ]]; then
    if can_make_namespaces; then
      has_netns=yes
    else
      complain "no network namespaces here (${no_netns:-no reason given}): all nodes share the loopback interface, NO link is cut or made lossy; processes alone are killed and stopped"
    fi
  fi
}

# Processes by pid and start time, namespaces by their names, this run's directory; in whatever state the run is.
clean_up() {
  local code=$? i
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  if [[ -n ${load_process:-} ]]; then end_load 2>/dev/null; fi
  for ((i = 1; i <= ${nodes:-0}; i++)); do
    if [[ -n ${process[$i]:-} ]]; then kill_and_reap "$i"; fi
  done
  if [[ ${has_netns:-no} == yes ]]; then remove_network; fi
  case $code/$keep in
    0/ | 130/ | 143/) rm -rf "$run" ;;
    *) say "history, schedule, logs and data are kept in $run" ;;
  esac
  exit "$code"
}

# shellcheck disable=SC2086
end_load() {
  signal_process KILL $load_process
  wait "${load_process%% *}"
}

start_cluster() {
  local i
  if [[ $has_netns == yes ]]; then add_network; else choose_ports; fi
  for ((i = 1; i <= nodes; i++)); do launch "$i"; done
  for ((i = 1; i <= nodes; i++)); do
    wait_until "$start_ms" answers "$i" healthz || die "n$i did not start: $(tail -n 3 "$run/n$i/kvnode.log")"
  done
  (within c "$bin/kvctl" --endpoints "$(endpoints)" cluster init --yes) >"$run/init.log" 2>&1 </dev/null ||
    die "the cluster could not be formed: $(tail -n 3 "$run/init.log")"
}

start_load() {
  touch "$run/healing"
  (within c "$bin/kvsim" load --endpoints "$(endpoints)" --history "$run/history.jsonl" --seconds "$seconds" \
    --hold "$run/healing" --seed "$seed" ${load_options[@]+"${load_options[@]}"} --json </dev/null >"$run/load.json" 2>"$run/load.log") &
  load_process=$(process_identity $!) || die "the load did not start"
}

# shellcheck disable=SC2086
load_is_over() { is_gone $load_process; }

# sleep_until MILLISECONDS since `began`; meanwhile nodes are looked after. False when the load ended.
sleep_until() {
  local left
  while left=$(($1 - ($(now_ms) - began))) && ((left > 0)); do
    look_after
    if load_is_over; then return 1; fi
    if ((left > 500)); then left=500; fi
    sleep "$(printf '%d.%03d' $((left / 1000)) $((left % 1000)))"
  done
}

# Carries out the schedule, and writes down what was done when, on the clock of the history.
inject() {
  local at action rest uptime
  began=$(now_ms)
  while read -r -u 3 at action rest; do
    if ! sleep_until "$at"; then return; fi
    look_after
    read -r uptime _ </proc/uptime
    echo "$uptime $action $rest" >>"$run/faults.log"
    # shellcheck disable=SC2086
    perform "$action" $rest
  done 3<"$run/schedule"
  sleep_until $((seconds * 1000)) || true
}

is_without_hints() {
  [[ $( (within c "$bin/kvctl" --endpoints "$(endpoints)" hints list) </dev/null 2>"$run/hints.log") == "no hints are waiting" ]]
}
agrees() { (within c "$bin/kvctl" --endpoints "$(endpoints)" repair verify) </dev/null >"$run/verify.log" 2>&1; }
is_healed() {
  look_after
  is_without_hints && agrees
}

# All is made well but the copies: those must become equal by themselves, and then say so.
await_healing() {
  local since spent
  step "healing; nothing is read"
  heal_all
  since=$(now_ms)
  if wait_until "$heal_ms" is_healed; then
    spent=$(($(now_ms) - since))
    step "healed: no hint waits and all copies are equal, $((spent / 1000)) s after the last fault"
    # What was asked in time may be answered too late.
    ((spent <= heal_ms)) || stuck+=("the copies were found to be equal only $((spent / 1000)) s after the last fault")
  else
    stuck+=("the copies were not equal $((heal_ms / 1000)) s after the last fault: $(tail -n 1 "$run/verify.log")")
  fi
  rm "$run/healing"
}

# The load ends with reads of every key from all owners.
await_load() {
  local code=0
  step "every key is read from all of its owners"
  until load_is_over; do
    look_after
    sleep 0.2
  done
  wait "${load_process%% *}" || code=$?
  load_process=''
  case $code in
    0) ;;
    3) stuck+=("not every key could be read from all of its owners within a minute after the faults") ;;
    *) die "the load failed (exit code $code): $(tail -n 3 "$run/load.log")" ;;
  esac
}

# All leave at once, in good order, or something is wrong with them.
stop_cluster() {
  local i
  for ((i = 1; i <= nodes; i++)); do terminate_node "$i"; done
  for ((i = 1; i <= nodes; i++)); do await_leaving "$i"; done
}

# --- what comes of it ----------------------------------------------------------------------------------------------

show_faults() {
  local kind
  printf '%-16s %6s\n' fault times
  for kind in $(printf '%s\n' "${!injected[@]}" | sort); do printf '%-16s %6d\n' "$kind" "${injected[$kind]}"; done
  echo
}

repeat_command() {
  local command="Scripts/chaos.sh --minutes $minutes --seed $seed"
  if ((nodes != 3)); then command+=" --nodes $nodes"; fi
  if [[ $has_netns == no ]]; then command+=" --no-netns"; fi
  if [[ -z $shim ]]; then command+=" --no-power"; fi
  if [[ $durability != sync ]]; then command+=" --durability $durability"; fi
  if [[ -n $given_schedule ]]; then command+=" --schedule $given_schedule"; fi
  echo "$command${load_options[*]:+ ${load_options[*]}}"
}

# The verdict of the check comes first, then nodes that crashed, then what was stuck.
judge() {
  local code=$1 line
  for line in ${crashes[@]+"${crashes[@]}"} ${stuck[@]+"${stuck[@]}"}; do echo "FAILED: $line"; done
  if ((code != 0)); then return "$code"; fi
  if ((${#crashes[@]} > 0)); then return 4; fi
  if ((${#stuck[@]} > 0)); then return 3; fi
}

chaos() {
  local where=loopback code=0
  if [[ $has_netns == yes ]]; then where="a network namespace each"; fi
  step "seed $seed: $nodes nodes in $where, $seconds s of faults"
  start_cluster
  start_load
  inject
  await_healing
  await_load
  stop_cluster
  step "checking the history"
  show_faults
  # Deadlines are up to 3 s, pauses up to 31 s.
  "$bin/kvsim" check "$run/history.jsonl" --write-limit-ms 40000 || code=$?
  judge "$code" || code=$?
  echo "seed $seed; again: $(repeat_command)"
  return "$code"
}

make_schedule() {
  local flags=()
  if [[ -n $given_schedule ]]; then
    cp "$given_schedule" "$run/schedule"
    return
  fi
  [[ $has_netns == yes ]] || flags+=(--no-links)
  [[ -n $shim ]] || flags+=(--no-power)
  "$bin/kvsim" schedule --seed "$seed" --seconds "$seconds" --nodes "$nodes" ${flags[@]+"${flags[@]}"} >"$run/schedule"
}

# --- the test of the test ------------------------------------------------------------------------------------------

# Power fails everywhere, twice.
blackouts() {
  local at i
  for at in 3000 7000; do
    echo "$at fault power-blackout all nodes"
    for i in 1 2 3; do echo "$at kill $i"; done
    for i in 1 2 3; do echo "$at power $i"; done
    for i in 1 2 3; do echo "$((at + 200)) start $i"; done
  done
}

# check_verdict DURABILITY CODE WHAT: the blackouts, under nodes of that kind, must end with CODE.
check_verdict() {
  local code=0 command=("$0" --minutes 0.2 --no-netns --schedule "$run/schedule" --durability "$1" --seed "$seed")
  TMPDIR=$run "${command[@]}" >"$run/report" 2>"$run/progress" || code=$?
  if ((code == $2)); then
    step "selftest: $3: $(grep -m 1 -E '^(NLA|held):' "$run/report")"
    return
  fi
  cat "$run/progress" "$run/report" >&2
  complain "selftest: $3 should have ended with exit code $2, and did with $code"
  exit 1
}

selftest() {
  blackouts >"$run/schedule"
  check_verdict os 1 "nodes that acknowledge before they sync lose their power"
  check_verdict sync 0 "nodes that sync lose their power"
  good "selftest passed: the check sees a loss, and none where there is none"
}

main() {
  read_arguments "$@"
  prefix=rkv$$ has_netns=no crashes=() stuck=() load_process=''
  run=$(mktemp -d "${TMPDIR:-/tmp}/ringkv-chaos.XXXXXX")
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  if [[ -n $selftest ]]; then
    selftest
    return
  fi
  prepare
  make_schedule
  chaos
}

main "$@"
