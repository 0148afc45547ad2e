# shellcheck shell=bash
# What every script of this folder shares. Sourced, never run:  . "$(dirname "$0")/lib.sh"

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SECONDS=0

# --- saying things -------------------------------------------------------------------------------------------------

# Colours only where a person reads: a terminal, and NO_COLOR (no-color.org) not set.
if [[ -t 2 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' red='' green='' plain=''
fi

# Progress goes to stderr, so that what a script prints as its result can be piped.
say() { printf '%s\n' "$*" >&2; }
step() { printf '%s[%3ds]%s %s\n' "$bold" "$SECONDS" "$plain" "$*" >&2; }
good() { printf '%s%s%s\n' "$green" "$*" "$plain" >&2; }
complain() { printf '%s%s: %s%s\n' "$red" "${0##*/}" "$*" "$plain" >&2; }
die() {
  complain "$@"
  exit 1
}
# A wrong command line: exit code 2, as kvctl and kvnode have it.
die_usage() {
  complain "$@"
  exit 2
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

# --- waiting -------------------------------------------------------------------------------------------------------

now_ms() { local us=${EPOCHREALTIME/[.,]/}; echo $((us / 1000)); }

# wait_until MILLISECONDS COMMAND…: true as soon as COMMAND is, false when the time is over.
wait_until() {
  local deadline=$(($(now_ms) + $1))
  shift
  until "$@"; do
    (($(now_ms) < deadline)) || return 1
    sleep 0.02
  done
}

# --- processes -----------------------------------------------------------------------------------------------------

# process_stat PID: "state threads start", from the fields behind the command's name, which may hold spaces and ')'.
process_stat() {
  local line
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  local fields
  read -ra fields <<<"${line##*) }"
  echo "${fields[0]} ${fields[17]} ${fields[19]}"
}

# A pid alone names whatever process has it now. With the start time it names one process for ever.
process_identity() {
  local state threads start
  read -r state threads start < <(process_stat "$1") || return 1
  echo "$1 $start"
}

# is_running PID START: that very process runs (or is stopped). A killed one stays as a zombie until its parent asks,
# seconds later or never, and counts as gone. Its first thread may be a zombie while others still hold files and ports:
# such a process is not gone yet.
is_running() {
  local state threads start
  read -r state threads start < <(process_stat "$1") || return 1
  [[ $start == "$2" ]] || return 1
  [[ $state != [ZX] ]] || ((threads > 1))
}
is_gone() { ! is_running "$1" "$2"; }
is_paused() {
  local state threads start
  read -r state threads start < <(process_stat "$1") || return 1
  [[ $start == "$2" && $state == [Tt] ]]
}
is_awake() { is_running "$1" "$2" && ! is_paused "$1" "$2"; }

# signal_process SIGNAL PID START: to that very process only, never to one that inherited its pid.
signal_process() {
  is_running "$2" "$3" || return 1
  kill -"$1" "$2" 2>/dev/null
}

# --- ports ---------------------------------------------------------------------------------------------------------

# port_is_taken PORT: something listens there. Read from the kernel's table: a trial connection would be seen by it.
port_is_taken() {
  local hex
  printf -v hex '%04X' "$1"
  awk -v port="$hex" '$4 == "0A" && $2 ~ (":" port "$") { found = 1 } END { exit !found }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# --- the build -----------------------------------------------------------------------------------------------------

find_swift() {
  command -v swift >/dev/null && return
  if [[ -x /opt/swift/usr/bin/swift ]]; then
    PATH=/opt/swift/usr/bin:$PATH
    export PATH
    return
  fi
  die "swift is neither on PATH nor in /opt/swift/usr/bin. Install Swift 6.2 or later (swift.org/install), then: export PATH=<toolchain>/usr/bin:\$PATH"
}

configuration=${RINGKV_BUILD:-release}
case $configuration in
  debug | release) ;;
  *) die_usage "RINGKV_BUILD=$configuration: debug or release" ;;
esac
# Two commands of SwiftPM wait for each other on one scratch path, so that tests may want their own.
scratch=${RINGKV_SCRATCH:-$repo/.build}

# The directory of kvnode and kvctl. SwiftPM's own answer costs a second, its link the same answer nothing.
bin_path() {
  if [[ -n ${RINGKV_BIN:-} ]]; then
    echo "$RINGKV_BIN"
  elif [[ -d $scratch/$configuration ]]; then
    echo "$scratch/$configuration"
  else
    find_swift
    swift build --package-path "$repo" --scratch-path "$scratch" -c "$configuration" --show-bin-path
  fi
}

# build_program PROGRAM, unless RINGKV_BIN names a directory that has it.
build_program() {
  if [[ -n ${RINGKV_BIN:-} ]]; then
    [[ -x $RINGKV_BIN/$1 ]] || die "RINGKV_BIN=$RINGKV_BIN lacks $1"
    return
  fi
  find_swift
  swift build --package-path "$repo" --scratch-path "$scratch" -c "$configuration" --product "$1" >&2 ||
    die "the $configuration build of $1 failed"
}

build_programs() {
  build_program kvnode
  build_program kvctl
}
