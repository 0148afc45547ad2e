#!/usr/bin/env bash
# Installs kvnode and kvctl on this machine, or into a directory that is then carried to others. Starts nothing.
#
#   Scripts/install.sh [--prefix DIR] [--root DIR] [--bin DIR]
#
#   --prefix DIR   where the programs go (default /usr/local); the unit is written for it
#   --root DIR     everything below DIR, as if DIR were /: for a tar to unpack on other hosts
#   --bin DIR      take kvnode and kvctl from there (default: the release build, made if needed)
#
# What it puts where, each only when it differs; it can be run again at any time, and after an upgrade is:
#
#   PREFIX/lib/ringkv/          the programs, and the Swift libraries that they need and Debian has not
#   PREFIX/bin/kvnode, kvctl    links to them
#   /etc/ringkv/kvnode.yaml     the shipped configuration, unless there is one; never touched afterwards
#   /etc/systemd/system/kvnode.service, /usr/lib/sysusers.d/ringkv.conf
set -euo pipefail
. "$(dirname "$0")/lib.sh"

prefix=/usr/local root='' changes=0

usage() { die_usage "$1; usage: Scripts/install.sh [--prefix DIR] [--root DIR] [--bin DIR]"; }

parse() {
  while (($# > 0)); do
    case $1 in
      --prefix | --root | --bin)
        (($# > 1)) || usage "$1 wants a directory"
        case $1 in
          --prefix) prefix=${2%/} ;;
          --root) root=${2%/} ;;
          --bin) RINGKV_BIN=$(cd "$2" 2>/dev/null && pwd) || usage "no directory $2" ;;
        esac
        shift 2
        ;;
      *) usage "unknown argument '$1'" ;;
    esac
  done
  [[ $prefix == /* ]] || usage "--prefix $prefix is not absolute"
  [[ -z $root || $root == /* ]] || root=$PWD/$root
  [[ -n $root || $EUID == 0 ]] || die "run it as root, or with --root DIR to prepare the files only"
}

# place MODE SOURCE TARGET: a file, when it differs. A running program keeps its old file until it is restarted.
place() {
  local target=$root$3
  if cmp -s "$2" "$target" && [[ $(stat -c %a "$target") == "$1" ]]; then return; fi
  mkdir -p "$(dirname "$target")"
  install -m "$1" "$2" "$target.new"
  mv -f "$target.new" "$target"
  say "install: $3"
  changes=$((changes + 1))
}

# point TARGET LINK: a symbolic link.
point() {
  [[ $(readlink "$root$2" || true) == "$1" ]] && return
  mkdir -p "$(dirname "$root$2")"
  ln -sfn "$1" "$root$2"
  say "install: $2"
  changes=$((changes + 1))
}

# libraries PROGRAM…: of the Swift toolchain, which a host that only runs nodes does not have. The programs look for
# them beside themselves.
libraries() {
  local missing
  missing=$(ldd "$@" | awk '/not found/ { print $1 }' | sort -u)
  [[ -z $missing ]] || die "libraries are missing: ${missing//$'\n'/ }; run Scripts/setup.sh run"
  ldd "$@" | awk '$3 ~ /\/swift\/linux\// { print $3 }' | sort -u
}

programs() {
  local bin library
  bin=$(bin_path)
  place 755 "$bin/kvnode" "$prefix/lib/ringkv/kvnode"
  place 755 "$bin/kvctl" "$prefix/lib/ringkv/kvctl"
  while IFS= read -r library; do
    place 644 "$library" "$prefix/lib/ringkv/$(basename "$library")"
  done < <(libraries "$bin/kvnode" "$bin/kvctl")
  point ../lib/ringkv/kvnode "$prefix/bin/kvnode"
  point ../lib/ringkv/kvctl "$prefix/bin/kvctl"
}

settings() {
  local scratch_dir
  scratch_dir=$(mktemp -d)
  sed "s,/usr/local,$prefix,g" "$repo/Config/systemd/kvnode.service" >"$scratch_dir/unit"
  printf 'u ringkv - "RingKV" /var/lib/ringkv\n' >"$scratch_dir/user"
  place 644 "$scratch_dir/unit" /etc/systemd/system/kvnode.service
  place 644 "$scratch_dir/user" /usr/lib/sysusers.d/ringkv.conf
  rm -rf "$scratch_dir"
  [[ -e $root/etc/ringkv/kvnode.yaml ]] || place 644 "$repo/Config/kvnode.yaml" /etc/ringkv/kvnode.yaml
  place 644 "$repo/README.md" "$prefix/share/doc/ringkv/README.md"
}

# What only the machine itself can do; `tar` on other hosts leaves it to the README's three commands.
activate() {
  [[ -z $root ]] || return 0
  if ! getent passwd ringkv >/dev/null; then
    if command -v systemd-sysusers >/dev/null; then
      systemd-sysusers /usr/lib/sysusers.d/ringkv.conf
    else
      useradd --system --user-group --home-dir /var/lib/ringkv --no-create-home --shell /usr/sbin/nologin ringkv
    fi
    say "install: the user ringkv"
    changes=$((changes + 1))
  fi
  install -d -m 700 -o ringkv -g ringkv /var/lib/ringkv
  if [[ -d /run/systemd/system ]]; then systemctl daemon-reload; fi
}

main() {
  parse "$@"
  [[ -n ${RINGKV_BIN:-} ]] || "$repo/Scripts/setup.sh" --quiet run
  build_programs
  programs
  settings
  activate
  if ((changes == 0)); then
    good "nothing has changed"
  elif [[ -n $root ]]; then
    good "$changes files are in $root; the README says how they get to a host"
  else
    good "installed; next: edit /etc/ringkv/kvnode.yaml, then: systemctl enable --now kvnode"
  fi
}

main "$@"
