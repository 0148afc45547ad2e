#!/usr/bin/env bash
# Everything that must hold before a commit goes to others; CI runs this file.
#
#   Scripts/check.sh [STEP…]     steps: selftest lint imports words shell build test simulate planted
#                                (default: all, in this order)
#
#   RINGKV_SEEDS                 seeds that `simulate` runs (default 400: about a minute)
#   RINGKV_PLANTED_SECONDS       how long each planted bug is looked for at most (default 120)
#   RINGKV_PLANTED_SCRATCH       where the simulator with the planted bugs is built (default .build-planted)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

all_steps=(selftest lint imports words shell build test simulate planted)

# What each target may import. Arrows point up the page of the design: a line longer than it was is a decision.
# The standard library's own Synchronization is for shells: the core has nothing to synchronise.
allowed_imports() {
  cat <<'TABLE'
KVModel     CXXHash
KVCore      KVModel
KVNet       CLinux Dispatch Glibc Synchronization
KVStorage   KVModel KVCore CRocksDB Dispatch Glibc Synchronization
KVServer    KVModel KVCore KVStorage KVNet Dispatch Glibc Synchronization Logging
KVClient    KVModel KVNet Dispatch Glibc Synchronization Logging ServiceLifecycle CoreMetrics Tracing
KVClientCodable KVClient Foundation
KVClientTesting KVModel KVCore KVClient Glibc Synchronization
KVSimulator KVModel KVCore
kvsim       KVModel KVCore KVSimulator KVClient ArgumentParser Logging Dispatch Glibc Synchronization Foundation
kvnode      KVModel KVCore KVStorage KVServer ArgumentParser Logging ServiceLifecycle Yams Dispatch Glibc Synchronization Foundation
kvctl       KVModel KVNet KVClient ArgumentParser Histogram Logging Dispatch Glibc Synchronization Foundation
TABLE
}

# Time, chance, threads and hash order, none of which a machine of the core may see but as an argument.
# A regular expression each; what is behind `//` does not count.
forbidden_words() {
  cat <<'TABLE'
\bDate\(
\.random\(
\.randomElement\(
\.shuffled?\(
\bSystemRandomNumberGenerator\b
\b(ContinuousClock|SuspendingClock)\b
\bTask( *\{|\.|\()
\bDispatchQueue\b
\.hashValue\b
TABLE
}

# --- steps ---------------------------------------------------------------------------------------------------------

# imports_of FILE: "line module" for every import, with its attributes, access level and kind of declaration.
imports_of() {
  sed -E 's,//.*$,,' "$1" | awk '
    { count = split($0, statements, ";") }
    { for (i = 1; i <= count; i++) {
        statement = statements[i]
        sub(/^[ \t]+/, "", statement)
        while (statement ~ /^@/) sub(/^@[A-Za-z_]+(\([^)]*\))?[ \t]*/, "", statement)
        sub(/^(public|package|internal|fileprivate|private)[ \t]+/, "", statement)
        if (statement !~ /^import[ \t]+/) continue
        sub(/^import[ \t]+/, "", statement)
        sub(/^(struct|class|enum|protocol|actor|typealias|func|let|var)[ \t]+/, "", statement)
        match(statement, /^[A-Za-z_0-9]+/)
        print NR, substr(statement, 1, RLENGTH)
      } }'
}

# check_imports ROOT: false, and a line for each, when a target below ROOT/Sources imports what it may not.
check_imports() {
  local root=$1 failed=0 directory target allowed file line module
  for directory in "$root"/Sources/*/; do
    target=$(basename "$directory")
    [[ -n $(find "$directory" -name '*.swift' -print -quit) ]] || continue # a system library
    if ! allowed=$(allowed_imports | awk -v t="$target" '$1 == t { $1 = ""; print $0 " "; found = 1 } END { exit !found }'); then
      complain "Sources/$target has no row in the table of allowed imports of Scripts/check.sh"
      failed=1
      continue
    fi
    while IFS= read -r -d '' file; do
      while read -r line module; do
        [[ $allowed == *" $module "* || $module == Swift ]] && continue
        complain "${file#"$root"/}:$line: $target may not import $module (it may:${allowed% })"
        failed=1
      done < <(imports_of "$file")
    done < <(find "$directory" -name '*.swift' -print0 | sort -z)
  done
  return $failed
}

# check_words ROOT: false, and a line for each, when the core uses what it must be given.
check_words() {
  local root=$1 failed=0 words file hit
  words=$(forbidden_words | paste -sd '|')
  while IFS= read -r -d '' file; do
    while IFS= read -r hit; do
      complain "${file#"$root"/}:${hit%%:*}: not in the core: ${hit#*:}"
      failed=1
    done < <(sed -E 's,//.*$,,' "$file" | grep -nP "$words" || true)
  done < <(find "$root/Sources/KVModel" "$root/Sources/KVCore" "$root/Sources/KVSimulator" -name '*.swift' -print0 2>/dev/null | sort -z)
  return $failed
}

# Each checker must catch what is planted for it, and only that.
step_selftest() {
  local plant core
  plant=$(mktemp -d)
  core=$plant/Sources/KVCore
  mkdir -p "$core"
  printf '%s\n' 'import KVModel' '// import Foundation' 'let important = 1' 'let x = "a" // Date()' >"$core/good.swift"
  if ! check_imports "$plant" || ! check_words "$plant"; then die "selftest: a good file was refused"; fi
  local line
  for line in 'import Foundation' 'public import Dispatch' '@testable import KVServer' 'import struct Foundation.Date' \
    '@preconcurrency public import Glibc' '@_spi(Inner) import KVNet' 'import KVModel; import Yams' '  import KVStorage'; do
    printf '\n%s\n' "$line" >"$core/bad.swift"
    [[ $(check_imports "$plant" 2>&1) == *"Sources/KVCore/bad.swift:2:"* ]] || die "selftest: not caught: $line"
  done
  rm "$core/bad.swift"
  for line in 'let now = Date()' 'Int.random(in: 0..<2)' 'Task { }' 'Task.detached { }' 'let q: DispatchQueue' 'a.shuffled()'; do
    printf '\n%s\n' "$line" >"$core/bad.swift"
    [[ $(check_words "$plant" 2>&1) == *"Sources/KVCore/bad.swift:2:"* ]] || die "selftest: not caught: $line"
  done
  rm "$core/bad.swift"
  mkdir "$plant/Sources/Unlisted"
  echo 'import Swift' >"$plant/Sources/Unlisted/a.swift"
  if check_imports "$plant" 2>/dev/null; then die "selftest: not caught: a target without a row"; fi
  rm -rf "$plant"
}

step_lint() {
  (cd "$repo" && swift format lint --strict --parallel --recursive Sources Tests Package.swift)
}

step_imports() { check_imports "$repo"; }
step_words() { check_words "$repo"; }

step_shell() {
  shellcheck -x "$repo"/Scripts/*.sh "$repo"/Tests/FaultShim/*.sh "$repo/.ci/run"
}

# What a target uses must stand among its dependencies; that it happens to be found is not enough.
step_build() {
  swift build --package-path "$repo" --scratch-path "$scratch" --build-tests --explicit-target-dependency-import-check error
}

step_test() { "$repo/Scripts/test.sh"; }

# find_kvsim: the simulator as the release tests built it, or a new one; its path on stdout.
find_kvsim() {
  local bin
  bin=$(swift build --package-path "$repo" --scratch-path "$scratch" -c release --show-bin-path)
  if [[ ! -x $bin/kvsim ]]; then
    swift build --package-path "$repo" --scratch-path "$scratch" -c release --product kvsim >&2
  fi
  echo "$bin/kvsim"
}

# Seeds; and a hundred of them once more, in other processes with other hash seeds: the same traces.
step_simulate() {
  local kvsim hashes seeds=${RINGKV_SEEDS:-400} again
  again=$((seeds < 100 ? seeds : 100))
  kvsim=$(find_kvsim)
  hashes=$(mktemp -d)
  "$kvsim" --seeds "1..$seeds" --jobs 2 --hashes "$hashes/first"
  "$kvsim" --seeds "1..$again" --jobs 2 --hashes "$hashes/again"
  [[ $(grep -cE '^[0-9]+ [0-9a-f]+$' "$hashes/again") == "$again" ]] || die "no traces to compare"
  diff <(head -n "$again" "$hashes/first") "$hashes/again" || die "the same seeds gave other traces"
  rm -rf "$hashes"
}

# holds_without KVSIM BUG REPORT: whether the seed that was found holds when nothing is planted.
holds_without() {
  local words
  read -ra words < <(sed -nE 's/^ *again with: kvsim (.*)$/\1/p' <<<"$3" | head -1 | sed "s/--plant $2//")
  ((${#words[@]} > 0)) && "$1" "${words[@]}" >/dev/null 2>&1
}

# Each planted bug must be found within 2,000 seeds and the time that it is given; prints by which checker, and at which
# seed.
step_planted() {
  local kvsim name code=0 found=0 report
  swift build --package-path "$repo" --scratch-path "${RINGKV_PLANTED_SCRATCH:-$repo/.build-planted}" -c release \
    --traits Planted --product kvsim
  kvsim=$(swift build --package-path "$repo" --scratch-path "${RINGKV_PLANTED_SCRATCH:-$repo/.build-planted}" -c release \
    --traits Planted --show-bin-path)/kvsim
  printf '%-28s %-6s %-10s %s\n' BUG SEED BY WHAT
  for name in $("$kvsim" --plant list); do
    code=0
    report=$(timeout "${RINGKV_PLANTED_SECONDS:-120}" "$kvsim" --plant "$name" --seeds 1..2000 --jobs 2 --first 2>/dev/null) ||
      code=$?
    if ((code == 0 || code == 124)); then
      complain "the planted bug $name was not found within 2000 seeds and ${RINGKV_PLANTED_SECONDS:-120} seconds"
      found=1
    elif ! holds_without "$kvsim" "$name" "$report"; then
      complain "what was found with the planted bug $name is found without it too"
      found=1
    fi
    printf '%-28s %s\n' "$name" "$(sed -nE 's/^seed ([0-9]+) FAILED \([a-z]+\) ([A-Z]+|the run): ?(.*)$/\1 \2 \3/p' <<<"$report" |
      head -1 | awk '{ seed = $1; by = $2; $1 = $2 = ""; printf "%-6s %-10s %s", seed, by, substr($0, 3, 90) }')"
  done
  return $found
}

# --- running them --------------------------------------------------------------------------------------------------

# Each in a shell of its own: `set -e` holds there, and one that fails does not end the others.
run_step() {
  local began
  began=$(now_ms)
  step "$1"
  local code result=ok
  # Not in a condition, where bash would ignore `set -e` in everything that the step calls.
  set +e
  (set -e; "step_$1")
  code=$?
  set -e
  ((code == 0)) || result=FAILED
  summary+=$(printf '%-9s %-7s %7d.%01d s' "$1" "$result" $((($(now_ms) - began) / 1000)) $((($(now_ms) - began) % 1000 / 100)))$'\n'
  [[ $result == ok ]] || failed+=("$1")
}

main() {
  local steps=("$@") name
  ((${#steps[@]} > 0)) || steps=("${all_steps[@]}")
  for name in "${steps[@]}"; do
    [[ " ${all_steps[*]} " == *" $name "* ]] || die_usage "no step '$name'; steps: ${all_steps[*]}"
  done
  "$repo/Scripts/setup.sh" --quiet check
  find_swift
  summary='' failed=()
  for name in "${steps[@]}"; do
    if [[ $name == test && " ${failed[*]-} " == *" build "* ]]; then continue; fi
    run_step "$name"
  done
  printf '\n%s' "$summary" >&2
  ((${#failed[@]} == 0)) || die "failed: ${failed[*]}"
  good "all checks passed"
}

main "$@"
