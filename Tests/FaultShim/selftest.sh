#!/usr/bin/env bash
# Builds the fault shim and tests it, also under RocksDB itself:  Tests/FaultShim/selftest.sh [OUT_DIR]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$("$here/build.sh" "${1:-$here/../../.build/faultshim}")
command -v python3 >/dev/null || { echo "selftest.sh: no python3: Scripts/setup.sh installs it" >&2; exit 1; }
if [[ -e /usr/include/rocksdb/c.h ]]; then
  cc=$(command -v clang || command -v /opt/swift/usr/bin/clang || command -v cc)
  "$cc" -std=gnu11 -O1 -Wall -Wextra -Werror -o "$out/rocksdb_probe" "$here/rocksdb_probe.c" -lrocksdb
fi
exec python3 "$here/selftest.py" "$out"
