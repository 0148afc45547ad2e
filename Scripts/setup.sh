#!/usr/bin/env bash
# Installs what the package needs from Debian and is not there yet; says in one line what it did.
#
#   Scripts/setup.sh [--quiet] [run|test|check]
#
# run: to build and run.  test: what the tests need too.  check (default): what Scripts/check.sh needs too.
# --quiet: no line when nothing was missing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# group, what proves that it is there (a command, or a file by its full path), its Debian package.
# Looking at the things themselves takes no process; asking dpkg takes longer and does not know of other sources.
# (promtool comes with Prometheus' server, which Debian starts where systemd runs: systemctl disable --now prometheus.)
needs() {
  cat <<'TABLE'
run   /usr/include/rocksdb/c.h            librocksdb-dev
run   /usr/include/xxhash.h               libxxhash-dev
run   /usr/include/stdio.h                libc6-dev
run   git                                 git
run   /etc/ssl/certs/ca-certificates.crt  ca-certificates
run   curl                                curl
run   awk                                 mawk
run   flock                               util-linux
run   ps                                  procps
test  ip                                  iproute2
test  nft                                 nftables
test  python3                             python3
test  promtool                            prometheus
check shellcheck                          shellcheck
TABLE
}

is_there() { if [[ $1 == /* ]]; then [[ -e $1 ]]; else command -v "$1" >/dev/null; fi; }

# missing GROUP: the packages to install, one a line.
missing() {
  local group thing package
  while read -r group thing package; do
    case $1/$group in run/test | run/check | test/check) continue ;; esac
    is_there "$thing" || echo "$package"
  done < <(needs)
}

install() {
  ((EUID == 0)) || command -v sudo >/dev/null ||
    die "missing packages: $*. Run as root:  apt-get install -y $*"
  command -v apt-get >/dev/null || die "missing packages: $*, and no apt-get: this is not Debian; install their like by hand"
  local log
  log=$(mktemp)
  say "setup: installing $*"
  if ! { as_root apt-get update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    die "apt-get could not install: $*"
  fi
  rm -f "$log"
}

main() {
  local quiet='' group=check argument
  for argument in "$@"; do
    case $argument in
      --quiet) quiet=yes ;;
      run | test | check) group=$argument ;;
      *) die_usage "unknown argument '$argument'; usage: Scripts/setup.sh [--quiet] [run|test|check]" ;;
    esac
  done
  find_swift
  PATH=$PATH:/usr/sbin:/sbin # nft and ip live there, which is not on everybody's PATH
  local packages
  mapfile -t packages < <(missing "$group")
  if ((${#packages[@]} > 0)); then
    install "${packages[@]}"
    mapfile -t still < <(missing "$group")
    ((${#still[@]} == 0)) || die "still missing after the installation: ${still[*]}"
    say "setup: installed ${packages[*]}"
  elif [[ -z $quiet ]]; then
    say "setup: nothing was missing"
  fi
}

main "$@"
