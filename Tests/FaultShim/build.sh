#!/usr/bin/env bash
# Builds faultshim.so and faultshim-cut:  Tests/FaultShim/build.sh [OUT_DIR]   (default .build/faultshim)
# Prints OUT_DIR. Does nothing when they are newer than their sources.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../.build/faultshim}

# The C compiler that comes with Swift; a machine with nothing else has that one.
compiler() {
  local candidate
  for candidate in "${CC:-}" clang /opt/swift/usr/bin/clang cc gcc; do
    if [[ -n $candidate ]] && command -v "$candidate"; then return; fi
  done
  echo "build.sh: no C compiler: clang comes with the Swift toolchain" >&2
  exit 1
}

up_to_date() {
  local product source
  for product in "$out/faultshim.so" "$out/faultshim-cut"; do
    for source in "$here"/faultshim.[ch] "$here/faultshim-cut.c" "$here/build.sh"; do
      [[ $product -nt $source ]] || return 1
    done
  done
}

mkdir -p "$out"
if ! up_to_date; then
  # Each is moved into place, so that a run at the same time never loads a half-written one.
  flags=(-std=c11 -O2 -g -Wall -Wextra -Werror -U_FORTIFY_SOURCE)
  cc=$(compiler)
  "$cc" "${flags[@]}" -shared -fPIC -fvisibility=hidden -pthread -o "$out/faultshim.so.$$" "$here/faultshim.c" -ldl
  mv "$out/faultshim.so.$$" "$out/faultshim.so"
  "$cc" "${flags[@]}" -o "$out/faultshim-cut.$$" "$here/faultshim-cut.c"
  mv "$out/faultshim-cut.$$" "$out/faultshim-cut"
fi
(cd "$out" && pwd)
