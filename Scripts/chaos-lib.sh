# shellcheck shell=bash
# The nodes, the network and the faults of Scripts/chaos.sh, which sources this after lib.sh.
#
# The caller sets: run (the directory of this run), prefix (of its namespaces), nodes, has_netns, shim (the directory of
# the fault shim, or nothing), durability, bin. It reads: injected, crashes, stuck, no_netns.
# shellcheck disable=SC2034,SC2154

start_ms=30000 # from the start of a process to /healthz
leave_ms=6000  # kvnode promises to leave within 5 s of SIGTERM
heal_ms=60000  # from the last fault until all copies are equal

# --- the network ---------------------------------------------------------------------------------------------------

# Every node and the clients have a namespace of their own; each is joined by a pair of interfaces to a bridge, which is
# in one more. None of them has a way out, and the machine's own namespace has no part in it.
namespaces() {
  local i
  echo "$prefix-hub"
  echo "$prefix-c"
  for ((i = 1; i <= nodes; i++)); do echo "$prefix-$i"; done
}

# can_make_namespaces: false, with the reason in `no_netns`, where the machine does not let us.
can_make_namespaces() {
  local probe=$prefix-probe rules='add table inet chaos
    add chain inet chaos input { type filter hook input priority 0; }
    add rule inet chaos input ip saddr 192.0.2.1 numgen random mod 100 < 5 drop'
  ((EUID == 0)) || { no_netns="they need root"; return 1; }
  no_netns=$(ip netns add "$probe" 2>&1) || return 1
  no_netns=$(ip netns exec "$probe" nft -f - 2>&1 <<<"$rules") || { ip netns del "$probe"; return 1; }
  no_netns=$(ip -n "$probe" link add pair type veth peer name other 2>&1) || { ip netns del "$probe"; return 1; }
  ip netns del "$probe"
}

# A number for each end, which is the last part of its address: nodes from 1, the clients 250.
end_number() { if [[ $1 == c ]]; then echo 250; else echo "$1"; fi; }

add_end() {
  local name=$1 number
  number=$(end_number "$name")
  ip netns add "$prefix-$name"
  ip link add "port$number" netns "$prefix-hub" type veth peer name eth0 netns "$prefix-$name"
  ip -n "$prefix-hub" link set "port$number" master bridge up
  ip -n "$prefix-$name" link set lo up
  ip -n "$prefix-$name" addr add "10.77.0.$number/24" dev eth0
  ip -n "$prefix-$name" link set eth0 up
  ip netns exec "$prefix-$name" nft -f - <<<'add table inet chaos
    add chain inet chaos input { type filter hook input priority 0; }'
}

add_network() {
  local i
  ip netns add "$prefix-hub"
  ip -n "$prefix-hub" link add bridge type bridge
  ip -n "$prefix-hub" link set bridge up
  add_end c
  for ((i = 1; i <= nodes; i++)); do add_end "$i"; done
}

remove_network() {
  local name
  while read -r name; do
    if [[ -e /run/netns/$name ]]; then ip netns del "$name" || complain "could not remove the namespace $name"; fi
  done < <(namespaces)
}

# within END COMMAND…: becomes COMMAND in that end's namespace.
within() {
  local name=$1
  shift
  if [[ $has_netns == yes ]]; then exec nsenter --net="/run/netns/$prefix-$name" "$@"; fi
  exec "$@"
}

host_of() { if [[ $has_netns == yes ]]; then echo "10.77.0.$1"; else echo 127.0.0.1; fi; }
port_of() { if [[ $has_netns == yes ]]; then echo 7420; else echo $((base_port + 10 * $1)); fi; }

# A row of free ports on the loopback interface.
choose_ports() {
  local try p
  for ((try = 0; try < 50; try++)); do
    base_port=$((20000 + RANDOM % 400 * 20))
    for ((p = base_port + 10; p < base_port + 10 * (nodes + 1); p++)); do
      if port_is_taken "$p"; then continue 2; fi
    done
    return
  done
  die "no $((10 * nodes)) free ports in a row between 20000 and 28000"
}

endpoints() {
  local i list=''
  for ((i = 1; i <= nodes; i++)); do list+=,$(host_of "$i"):$(port_of "$i"); done
  echo "${list:1}"
}

# Drops of the direction FROM,TO in percent; nothing: none.
declare -A dropped=()

# drop PERCENT FROM TO: at the receiver, where no sender hears of it.
drop() {
  local percent=$1 from=$2 to=$3 key rules
  dropped[$from,$to]=$percent
  rules="flush chain inet chaos input"$'\n'
  for key in "${!dropped[@]}"; do
    [[ $key == *,"$to" ]] || continue
    case ${dropped[$key]} in
      0) ;;
      100) rules+="add rule inet chaos input ip saddr 10.77.0.$(end_number "${key%,*}") drop"$'\n' ;;
      *) rules+="add rule inet chaos input ip saddr 10.77.0.$(end_number "${key%,*}") numgen random mod 100 < ${dropped[$key]} drop"$'\n' ;;
    esac
  done
  ip netns exec "$prefix-$to" nft -f - <<<"$rules" || die "nft refused: $rules"
}

# --- the nodes -----------------------------------------------------------------------------------------------------

# Of node I: "pid start" of its process, and what should become of it: up, leaving (after SIGTERM), down.
declare -A process=() expected=()

launch() {
  local i=$1 home=$run/n$1 host port preload=() pid
  host=$(host_of "$i")
  port=$(port_of "$i")
  [[ -z $shim ]] || preload=("LD_PRELOAD=$shim/faultshim.so" "FAULTSHIM_DIR=$home/data"
    "FAULTSHIM_STATE=$home/faultshim.state" "FAULTSHIM_CONTROL=$home/faultshim.control" "FAULTSHIM_LOG=$home/faultshim.log")
  mkdir -p "$home/data"
  # The preload library comes behind nsenter and env, into the node alone; every one of them becomes the next.
  (within "$i" setsid env "${preload[@]}" "$bin/kvnode" --config "$repo/Config/kvnode.yaml" \
    --data "$home/data" --name "n$i" --zone "z$i" --host-label "h$i" --durability "$durability" \
    --client-listen "$host:$port" --peer-listen "$host:$((port + 1))" --admin-listen "$host:$((port + 2))" \
    </dev/null >>"$home/kvnode.log" 2>&1) &
  pid=$!
  process[$i]=$(process_identity "$pid") || process[$i]="$pid 0"
  expected[$i]=up
}

# on_process COMMAND I [ARGUMENT…]: COMMAND ARGUMENT… PID START
on_process() {
  local command=$1 i=$2 pid start
  shift 2
  read -r pid start <<<"${process[$i]:-0 0}"
  "$command" "$@" "$pid" "$start"
}

# The exit code of a node's process that is gone.
reap() {
  local pid start code=0
  read -r pid start <<<"${process[$1]}"
  wait "$pid" 2>/dev/null || code=$?
  echo "$code" >"$run/n$1/exit"
  return 0
}

answers() {
  [[ $( (within c curl -s -o /dev/null -w '%{http_code}' --max-time 2 "http://$(host_of "$1"):$(($(port_of "$1") + 2))/$2")) == 200 ]]
}

# A node that ended though nobody told it to: said once, and started again.
look_after() {
  local i
  for ((i = 1; i <= nodes; i++)); do
    if [[ ${expected[$i]:-} != up ]] || ! on_process is_gone "$i"; then continue; fi
    reap "$i"
    crashes+=("n$i ended by itself after $((($(now_ms) - began) / 1000)) s, exit code $(<"$run/n$i/exit"): the end of its log says: $(tail -n 1 "$run/n$i/kvnode.log")")
    complain "${crashes[-1]}"
    launch "$i"
  done
}

# --- the faults ----------------------------------------------------------------------------------------------------

# kill_and_reap I. Silent: bash would say of each that it was killed.
kill_and_reap() {
  {
    on_process signal_process "$1" KILL || true
    reap "$1"
  } 2>/dev/null
}

kill_node() {
  if [[ ${expected[$1]} == down ]]; then return; fi
  expected[$1]=down
  kill_and_reap "$1"
}

# What was not synced is gone, of a node that was killed.
lose_power() {
  [[ ${expected[$1]} == down && -n $shim ]] || return 0
  "$shim/faultshim-cut" "$run/n$1/faultshim.state" >>"$run/n$1/cuts.log" 2>&1 || die "n$1: the power cut failed: $(tail -n 1 "$run/n$1/cuts.log")"
}

# set_clock I MILLISECONDS: the wall clock that the node is shown is so far ahead of the machine's, which nobody touches.
set_clock() {
  echo "clock $2" >"$run/n$1/faultshim.control.new"
  mv "$run/n$1/faultshim.control.new" "$run/n$1/faultshim.control"
}

# Of a node that is down. What the shim knew of its files does not hold for those of the image: they count as synced.
keep_image() {
  rm -rf "$run/n$1/image"
  cp -a "$run/n$1/data" "$run/n$1/image"
}
restore_image() {
  rm -rf "$run/n$1/data" "$run/n$1/faultshim.state"
  mv "$run/n$1/image" "$run/n$1/data"
}

terminate_node() {
  if [[ ${expected[$1]} != up ]]; then return; fi
  on_process signal_process "$1" TERM || return 0
  expected[$1]=leaving
}

# Until a node that was told to leave has left, in time and in good order.
await_leaving() {
  if [[ ${expected[$1]} != leaving ]]; then return; fi
  expected[$1]=down
  if ! wait_until "$leave_ms" on_process is_gone "$1"; then
    stuck+=("n$1 had not left $((leave_ms / 1000)) s after SIGTERM")
    complain "${stuck[-1]}"
    kill_and_reap "$1"
    return
  fi
  reap "$1"
  [[ $(<"$run/n$1/exit") == 0 ]] || crashes+=("n$1 ended with exit code $(<"$run/n$1/exit") after SIGTERM")
}

start_node() {
  if [[ ${expected[$1]} == up ]]; then return; fi
  await_leaving "$1"
  launch "$1"
}

perform() {
  local action=$1
  shift
  case $action in
    fault) announce "$@" ;;
    kill) kill_node "$1" ;;
    power) lose_power "$1" ;;
    term) terminate_node "$1" ;;
    start) start_node "$1" ;;
    stop) on_process signal_process "$1" STOP || true ;;
    cont) on_process signal_process "$1" CONT || true ;;
    drop) drop "$@" ;;
    clock) set_clock "$@" ;;
    image) keep_image "$1" ;;
    restore) restore_image "$1" ;;
    *) die "the schedule says '$action', which is nothing" ;;
  esac
}

# Times that each kind of fault was injected.
declare -A injected=()

announce() {
  injected[$1]=$((${injected[$1]:-0} + 1))
  step "fault: $*"
}

heal_all() {
  local i key
  for key in "${!dropped[@]}"; do if ((dropped[$key] > 0)); then drop 0 "${key%,*}" "${key#*,}"; fi; done
  for ((i = 1; i <= nodes; i++)); do
    if [[ -n $shim ]]; then set_clock "$i" 0; fi
    on_process signal_process "$i" CONT || true
    start_node "$i"
  done
}
