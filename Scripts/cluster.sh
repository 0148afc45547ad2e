#!/usr/bin/env bash
# A cluster of kvnodes on this machine, for people, tests and benchmarks. `Scripts/cluster.sh help` tells the verbs.
#
# On disk:  $RINGKV_DATA/cluster        "nodes port", written when the cluster is first started
#           $RINGKV_DATA/formed         there once `kvctl cluster init` has succeeded
#           $RINGKV_DATA/nI/pid         "pid start-time" of node I's process
#           $RINGKV_DATA/nI/kvnode.log  its log, appended to over restarts
#           $RINGKV_DATA/nI/data        its data directory
set -euo pipefail
. "$(dirname "$0")/lib.sh"

data=${RINGKV_DATA:-$repo/.build/cluster}
[[ $data == /* ]] || data=$PWD/$data
host=127.0.0.1
start_ms=60000 # from the start of a process to /readyz; recovery of a large write-ahead log takes some of it
leave_ms=6000  # kvnode promises to leave within 5 s of SIGTERM

usage() {
  cat <<'EOT'
usage: Scripts/cluster.sh VERB

  start [N]     build if needed, start N nodes (default 3), form the cluster if it is new, wait until it serves;
                on a running cluster: start what does not run
  stop          SIGTERM to every node; one that has not left after 6 s is killed, and that is an error
  status        which nodes run, their pids and ports, whether they are ready
  endpoints     host:port,host:port,… of all nodes, for kvctl --endpoints
  kill I…       SIGKILL                          pause I…    SIGSTOP          resume I…   SIGCONT
  restart I…    stop what still runs, start it, wait until it serves
  wipe I…       empty the data of a stopped node
  cut I…        a power cut: of a killed node that ran under the fault shim, cut every file to its last synced length
  logs I        the log of node I                pid I       its process id

I is a node's number, several of them, or `all` (kill, pause, resume: all that run).

environment:
  RINGKV_DATA     where everything is kept (default .build/cluster)
  RINGKV_PORT     node I: client RINGKV_PORT+10·I, peer +1, admin +2 (default 7410, so node 1 is at 7420)
  RINGKV_BUILD    debug | release (default)
  RINGKV_BIN      a directory with kvnode and kvctl: nothing is built
  RINGKV_SCRATCH  SwiftPM's scratch path (default .build)
  RINGKV_NODE_FLAGS, RINGKV_NODE_FLAGS_I   further flags of every node, of node I
  RINGKV_PRELOAD, RINGKV_PRELOAD_I         LD_PRELOAD of every node, of node I. Node I then also gets FAULTSHIM_DIR (its data),
                  FAULTSHIM_STATE, FAULTSHIM_CONTROL and FAULTSHIM_LOG (nI/faultshim.state, .control, .log)
EOT
}

# --- the nodes -----------------------------------------------------------------------------------------------------

# Sets `nodes` and `port`. A cluster keeps both for life: the layout has its addresses.
read_cluster() {
  if [[ -f $data/cluster ]]; then
    read -r nodes port <"$data/cluster"
    [[ -z ${RINGKV_PORT:-} || $RINGKV_PORT == "$port" ]] ||
      die "the cluster in $data was made with RINGKV_PORT=$port, not $RINGKV_PORT; give another RINGKV_DATA"
  else
    nodes=0
    port=${RINGKV_PORT:-7410}
  fi
}

client_port() { echo $((port + 10 * $1)); }
admin_port() { echo $((port + 10 * $1 + 2)); }

endpoints() {
  local i list=''
  for ((i = 1; i <= nodes; i++)); do list+=,$host:$(client_port "$i"); done
  echo "${list:1}"
}

# identity I: "pid start" of a node that runs, else nothing and false.
identity() {
  local pid start
  { read -r pid start <"$data/n$1/pid"; } 2>/dev/null || return 1
  is_running "$pid" "$start" && echo "$pid $start"
}
runs() { identity "$1" >/dev/null; }

answers() { [[ $(curl -s -o /dev/null -w '%{http_code}' --max-time 2 "http://$host:$(admin_port "$1")/$2") == 200 ]]; }
# True when waiting is over: it answers, or it has died and never will.
answers_or_died() { answers "$1" "$2" || ! runs "$1"; }

# The nodes that `all` stands for: a signal goes to those that run, the rest is for every node.
all_for() {
  local i
  for ((i = 1; i <= nodes; i++)); do
    case $1 in
      kill | pause | resume) if runs "$i"; then echo "$i"; fi ;;
      *) echo "$i" ;;
    esac
  done
}

# Expands the I… of a verb into `chosen`.
choose() {
  local verb=$1 i
  shift
  (($# > 0)) || die_usage "$verb: which node? usage: Scripts/cluster.sh $verb I"
  ((nodes > 0)) || die "no cluster in $data; make one with: Scripts/cluster.sh start"
  chosen=()
  for i in "$@"; do
    if [[ $i == all ]]; then
      mapfile -t chosen < <(all_for "$verb")
      ((${#chosen[@]} > 0)) || die "$verb: no node runs"
    elif [[ $i =~ ^[1-9][0-9]{0,3}$ ]] && ((i <= nodes)); then
      chosen+=("$i")
    else
      die_usage "$verb: no node '$i'; this cluster has nodes 1 to $nodes"
    fi
  done
}

# --- starting ------------------------------------------------------------------------------------------------------

free_ports_or_die() {
  local i=$1 p
  for ((p = port + 10 * i; p <= port + 10 * i + 2; p++)); do
    port_is_taken "$p" || continue
    die "n$i cannot start: port $p is in use by something else$(ss -Hltnp "sport = :$p" 2>/dev/null |
      sed -n 's/.*users:((\([^)]*\)).*/ (\1)/p' | head -n 1). End that, or set RINGKV_PORT (now $port)"
  done
}

# The environment of node I beyond this script's own, into `environment`.
node_environment() {
  local i=$1 own="RINGKV_PRELOAD_$1"
  local preload=${!own-${RINGKV_PRELOAD:-}}
  environment=()
  [[ -n $preload ]] || return 0
  [[ -r $preload ]] || die "n$i: no readable preload library $preload"
  environment=("LD_PRELOAD=$preload" "FAULTSHIM_DIR=$data/n$i/data" "FAULTSHIM_STATE=$data/n$i/faultshim.state"
    "FAULTSHIM_CONTROL=$data/n$i/faultshim.control" "FAULTSHIM_LOG=$data/n$i/faultshim.log")
}

launch() {
  local i=$1 own="RINGKV_NODE_FLAGS_$1" environment extra pid
  free_ports_or_die "$i"
  node_environment "$i"
  read -ra extra <<<"${RINGKV_NODE_FLAGS:-} ${!own:-}"
  mkdir -p "$data/n$i/data"
  local p
  p=$(client_port "$i")
  # A session of its own, so that neither a closed terminal nor ^C reaches the node. `env` comes after setsid and becomes
  # the node, so that the pid is the node's and the preload library is in nothing else. The lock is not passed on.
  setsid env "${environment[@]}" "$bin/kvnode" --config "$repo/Config/kvnode.yaml" \
    --data "$data/n$i/data" --name "n$i" --zone "z$i" --host-label "h$i" \
    --client-listen "$host:$p" --peer-listen "$host:$((p + 1))" --admin-listen "$host:$((p + 2))" \
    ${extra[@]+"${extra[@]}"} </dev/null >>"$data/n$i/kvnode.log" 2>&1 9>&- &
  pid=$!
  # A node that dies at once may be gone already: then there is no process to name, and waiting for it reports the death.
  process_identity "$pid" >"$data/n$i/pid" || rm -f "$data/n$i/pid"
}

show_log() {
  say "--- the end of $data/n$1/kvnode.log"
  tail -n 20 "$data/n$1/kvnode.log" >&2 || true
  say "---"
}

# await I PATH: until the admin port answers 200 there.
await() {
  if wait_until "$start_ms" answers_or_died "$1" "$2" && runs "$1"; then return; fi
  show_log "$1"
  if runs "$1"; then die "n$1 did not answer /$2 with 200 within $((start_ms / 1000)) s"; fi
  die "n$1 ended while it was starting"
}

# A wiped node lives, but is no member of the cluster any more and does not get ready.
await_ready() {
  if [[ -e $data/n$1/wiped ]] && ! wait_until 1000 answers "$1" readyz; then
    say "n$1 is alive, but not ready: it was wiped, and so is no member of the cluster"
    return
  fi
  rm -f "$data/n$1/wiped"
  await "$1" readyz
}

form() {
  [[ ! -e $data/formed ]] || return 0
  "$bin/kvctl" --endpoints "$(endpoints)" cluster init --yes >&2 ||
    die "kvctl could not form the cluster; 'Scripts/cluster.sh start' tries again"
  touch "$data/formed"
}

running_count() {
  local i count=0
  for ((i = 1; i <= nodes; i++)); do if runs "$i"; then count=$((count + 1)); fi; done
  echo "$count"
}

# A cluster's size is fixed once it is formed: growing it takes a new layout, which kvctl plans, not this script.
set_size() {
  local wanted=${1:-}
  [[ -z $wanted || $wanted =~ ^[1-9][0-9]{0,2}$ ]] || die_usage "start: '$wanted' is no number of nodes from 1 to 999"
  [[ $port =~ ^[0-9]{1,5}$ ]] || die_usage "RINGKV_PORT=$port is no port"
  if ((nodes > 0)) && [[ -n $wanted && $wanted != "$nodes" ]]; then
    [[ ! -e $data/formed ]] || die "the cluster in $data has $nodes nodes, not $wanted; give another RINGKV_DATA for another cluster"
    (($(running_count) == 0)) || die "$nodes nodes are being started in $data; stop them first"
    nodes=0
  fi
  ((nodes > 0)) || nodes=${wanted:-3}
  ((port + 10 * nodes + 2 <= 65535)) || die_usage "RINGKV_PORT=$port leaves no room for $nodes nodes below 65536"
  mkdir -p "$data"
  echo "$nodes $port" >"$data/cluster"
}

start() {
  set_size "$@"
  "$repo/Scripts/setup.sh" --quiet run
  build_programs
  bin=$(bin_path)
  local i started=()
  for ((i = 1; i <= nodes; i++)); do
    if runs "$i"; then continue; fi
    launch "$i"
    started+=("n$i")
  done
  for ((i = 1; i <= nodes; i++)); do await "$i" healthz; done
  form
  for ((i = 1; i <= nodes; i++)); do await_ready "$i"; done
  if ((${#started[@]} == 0)); then
    say "all $nodes nodes were running already and serve at $(endpoints)"
  else
    say "started ${started[*]}; $nodes nodes serve at $(endpoints)"
  fi
}

restart() {
  local i
  bin=$(bin_path)
  [[ -x $bin/kvnode ]] || die "no kvnode in $bin; build it with: Scripts/cluster.sh start"
  for i in "${chosen[@]}"; do if runs "$i"; then end_node "$i" || true; fi; done
  for i in "${chosen[@]}"; do launch "$i"; done
  for i in "${chosen[@]}"; do await "$i" healthz; done
  # Without a majority no node serves its partitions: then being alive is all there is to wait for.
  if [[ -e $data/formed ]] && (($(running_count) * 2 > nodes)); then
    for i in "${chosen[@]}"; do await_ready "$i"; done
    say "restarted $(names)"
  else
    say "restarted $(names); alive, not waiting until it serves: $(running_count) of $nodes nodes run"
  fi
}

# --- ending, pausing -----------------------------------------------------------------------------------------------

names() {
  local list
  printf -v list ', n%s' "${chosen[@]}"
  echo "${list:2}"
}

# end_node I: false when it had to be killed.
end_node() {
  local pid start
  read -r pid start < <(identity "$1") || return 0
  # SIGTERM stays pending in a paused process.
  signal_process CONT "$pid" "$start" || true
  signal_process TERM "$pid" "$start" || true
  if wait_until "$leave_ms" is_gone "$pid" "$start"; then return 0; fi
  signal_process KILL "$pid" "$start" || true
  wait_until "$leave_ms" is_gone "$pid" "$start" || die "n$1 (pid $pid) does not even end by SIGKILL"
  complain "n$1 had not left $((leave_ms / 1000)) s after SIGTERM; killed it"
  return 1
}

# All get their SIGTERM at once: each needs up to five seconds.
stop() {
  ((nodes > 0)) || { say "no cluster in $data: nothing to stop"; return; }
  local i pid start stopped=() failed=0
  for ((i = 1; i <= nodes; i++)); do
    read -r pid start < <(identity "$i") || continue
    signal_process CONT "$pid" "$start" || true
    signal_process TERM "$pid" "$start" || true
    stopped+=("$i")
  done
  for i in ${stopped[@]+"${stopped[@]}"}; do end_node "$i" || failed=1; done
  say "stopped ${#stopped[@]} of $nodes nodes; the data stay in $data"
  return $failed
}

# send SIGNAL TEST DONE: to every chosen node, then wait until TEST PID START holds.
send() {
  local signal=$1 test=$2 done=$3 i pid start sent=()
  for i in "${chosen[@]}"; do
    read -r pid start < <(identity "$i") || die "n$i does not run${sent[*]:+; $done before: ${sent[*]}}"
    signal_process "$signal" "$pid" "$start" || die "n$i (pid $pid) could not be sent SIG$signal"
    sent+=("n$i")
  done
  for i in "${chosen[@]}"; do
    { read -r pid start <"$data/n$i/pid"; }
    wait_until 5000 "$test" "$pid" "$start" || die "n$i (pid $pid) was sent SIG$signal, and nothing came of it within 5 s"
  done
  say "$done $(names)"
}

wipe() {
  local i
  for i in "${chosen[@]}"; do if runs "$i"; then die "n$i runs; stop it first: Scripts/cluster.sh kill $i"; fi; done
  for i in "${chosen[@]}"; do
    # The shim's state names files by inode: it would cut new files that got the inodes of these.
    rm -rf "${data:?}/n$i/data" "$data/n$i/faultshim.state"
    mkdir -p "$data/n$i/data"
    touch "$data/n$i/wiped"
  done
  say "wiped the data of $(names)"
}

cut_tails() {
  local i tool=${RINGKV_FAULTSHIM:-$repo/.build/faultshim}/faultshim-cut
  [[ -x $tool ]] || die "no $tool; build it with: Tests/FaultShim/build.sh ${tool%/*}"
  for i in "${chosen[@]}"; do
    if runs "$i"; then die "n$i runs; kill it first: Scripts/cluster.sh kill $i"; fi
    [[ -e $data/n$i/faultshim.state ]] || die "n$i never ran under the fault shim (RINGKV_PRELOAD)"
    "$tool" "$data/n$i/faultshim.state" >&2 || die "n$i: the power cut failed"
  done
  say "cut the unsynced tails of $(names)"
}

# --- telling -------------------------------------------------------------------------------------------------------

status() {
  ((nodes > 0)) || die "no cluster in $data; make one with: Scripts/cluster.sh start"
  local i pid start state down=0
  printf '%-5s %-8s %-8s %-22s %s\n' NODE STATE PID CLIENT ADMIN
  for ((i = 1; i <= nodes; i++)); do
    pid=- state=stopped
    if read -r pid start < <(identity "$i"); then
      if is_paused "$pid" "$start"; then state=paused; elif answers "$i" readyz; then state=ready; else state=unready; fi
    else
      pid=-
    fi
    [[ $state == ready ]] || down=1
    printf '%-5s %-8s %-8s %-22s %s\n' "n$i" "$state" "$pid" "$host:$(client_port "$i")" "http://$host:$(admin_port "$i")"
  done
  return $down
}

pid_of() {
  local pid start
  read -r pid start < <(identity "$1") || die "n$1 does not run"
  echo "$pid"
}

# One verb that changes processes at a time; the signals are not among them, since a test kills while another verb waits.
lock() {
  mkdir -p "$data"
  exec 9>"$data/lock"
  flock -w 120 9 || die "another Scripts/cluster.sh has been at work in $data for two minutes"
  read_cluster
}

main() {
  local verb=${1:-}
  (($# > 0)) && shift
  read_cluster
  case $verb in
    kill | pause | resume | restart | wipe | cut | logs | pid) choose "$verb" "$@" ;;
    start) (($# <= 1)) || die_usage "start takes one number at most" ;;
    stop | status | endpoints) (($# == 0)) || die_usage "$verb takes no argument" ;;
  esac
  case $verb in
    start) lock && start "$@" ;;
    stop) lock && stop ;;
    kill) send KILL is_gone killed ;;
    pause) send STOP is_paused paused ;;
    resume) send CONT is_awake resumed ;;
    restart) lock && restart ;;
    wipe) lock && wipe ;;
    cut) lock && cut_tails ;;
    status) status ;;
    endpoints)
      ((nodes > 0)) || die "no cluster in $data; make one with: Scripts/cluster.sh start"
      endpoints
      ;;
    logs) cat "$data/n${chosen[0]}/kvnode.log" ;;
    pid) pid_of "${chosen[0]}" ;;
    help | -h | --help) usage ;;
    *)
      [[ -z $verb ]] || complain "no verb '$verb'"
      usage >&2
      exit 2
      ;;
  esac
}

main "$@"
