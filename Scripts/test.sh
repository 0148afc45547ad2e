#!/usr/bin/env bash
# Sets up and runs every test.
#
#   Scripts/test.sh [FILTER]     FILTER: a regular expression on `Target.Suite/test`; only those Swift tests
#
#   RINGKV_TESTS=release|debug|all   which runs (default all): the release run has every test, millions of seeded cases,
#                                    the simulation and the real processes among them; the debug run has those that are
#                                    quick without an optimiser, for the traps and overflow checks that it adds
#   RINGKV_DEBUG_SKIP                what the debug run leaves out, a regular expression
#   RINGKV_TEST_TIMEOUT              seconds for one run (default 1200)
#   RINGKV_SCRATCH                   SwiftPM's scratch path (default .build)
#
# The tests see RINGKV_BIN (the programs built for this run: SwiftPM's lock is held while tests run, so that none may
# build), RINGKV_FAULTSHIM (faultshim.so, faultshim-cut) and RINGKV_TEST_BUILD (release or debug).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

debug_skip=${RINGKV_DEBUG_SKIP:-'Process|Simulat|Propert|Mutation|[Hh]azard|Million'}
few=(--experimental-maximum-parallelization-width 8)
filter=()
ran_some=''
unsteady=()

# Only what is built for testing can be imported with @testable, and an optimised build is not, unless told.
testable_flags() {
  [[ $1 == release ]] && grep -rqsE '^ *@testable' "$repo/Tests" --include='*.swift' && echo -Xswiftc -enable-testing
  return 0
}

# The arguments that build and run must share, lest the second builds everything again; into `arguments`.
set_arguments() {
  local flags
  read -ra flags <<<"$(testable_flags "$1")"
  arguments=(--package-path "$repo" --scratch-path "$scratch" -c "$1" ${flags[@]+"${flags[@]}"}
    --explicit-target-dependency-import-check error)
}

# retell LOG: once more what failed, and when the run itself did not end, which tests were open: CI keeps the last lines only.
retell() {
  awk '
    / recorded an issue / || /^[^ ]+:[0-9]+: error: / { issues[++count] = $0; inside = 1; next }
    inside && /^[[:space:]]*↳|^[[:space:]]/ { issues[++count] = $0; next }
    { inside = 0 }
    /^✘ (Test|Suite) .* failed after/ { failed[++failures] = $0 }
    /^[✔✘] Test run / { ended = 1 }
    /^◇ Test / && / started\.$/ && !/^◇ Test (run|case)/ { sub(/^◇ Test /, ""); sub(/ started\.$/, ""); open[$0] = 1 }
    /^[✔✘➜] Test / && !/^. Test (run|case)/ { sub(/^. Test /, ""); sub(/ (with [0-9]+ test cases? )?(passed|failed|skipped|recorded).*$/, ""); delete open[$0] }
    END {
      if (!ended) { print "--- begun and not ended"; for (name in open) if (++told <= 40) print name }
      if (count) { print "--- issues"; for (i = 1; i <= count; i++) print issues[i] }
      if (failures) { print "--- failed"; for (i = 1; i <= failures; i++) print failed[i] }
    }' "$1" | tail -n 120 >&2
}

# failed_tests LOG: a filter for each test that failed in a run that came to its end, one a line.
failed_tests() {
  grep -qE '^✘ Test run with ' "$1" || return 0
  sed -nE '/^✘ Test run with /d; s/^✘ Test (.*) failed after .*/\1/p' "$1" | sed -E 's/ with [0-9]+ test cases?$//; s/^"//; s/"$//; s/\(.*$//' |
    sed -E 's/[^A-Za-z0-9]/./g' | sort -u
}

# again LOG SWIFT-TEST-ARGUMENTS…: a second time, alone, what failed among others, if it is no more than two tests. Real
# processes and real clocks on a machine that others use fail now and then; what is wrong, and everything that is seeded,
# fails both times. Whoever passes only alone is told at the end: each is a test, or a program, to mend.
again() {
  local log=$1 failed names=()
  shift
  mapfile -t failed < <(failed_tests "$log")
  ((${#failed[@]} > 0 && ${#failed[@]} <= 2)) || return 1
  for name in "${failed[@]}"; do names+=(--filter "$name"); done
  step "once more, alone: ${failed[*]}"
  timeout --kill-after=10 300 swift test "$@" --skip-build "${names[@]}" </dev/null 2>&1 | tee "$log.again" || return 1
  grep -qE 'Test run with [1-9][0-9]* test' "$log.again" || return 1
  unsteady+=("${failed[@]}")
}

# run_in CONFIGURATION SWIFT-TEST-ARGUMENTS…
run_in() {
  local in=$1 arguments log
  shift
  set_arguments "$in"
  step "building the tests, $in"
  swift build "${arguments[@]}" --build-tests || die "the $in build of the tests failed"
  RINGKV_BIN=$(swift build "${arguments[@]}" --show-bin-path)
  step "running the tests, $in"
  log=$(mktemp)
  RINGKV_BIN=$RINGKV_BIN RINGKV_TEST_BUILD=$in timeout --kill-after=10 "${RINGKV_TEST_TIMEOUT:-1200}" \
    swift test "${arguments[@]}" --skip-build ${filter[@]+"${filter[@]}"} "$@" </dev/null 2>&1 | tee "$log" || {
    retell "$log"
    RINGKV_BIN=$RINGKV_BIN RINGKV_TEST_BUILD=$in again "$log" "${arguments[@]}" || die "tests failed in the $in run"
    rm -f "$log.again"
  }
  if grep -qE 'Test run with [1-9][0-9]* test|Executed [1-9][0-9]* test' "$log"; then ran_some=yes; fi
  rm -f "$log"
}

main() {
  (($# <= 1)) || die_usage "usage: Scripts/test.sh [FILTER]"
  case ${1:-} in -h | --help) sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0"; exit ;; esac
  local runs=${RINGKV_TESTS:-all}
  [[ $runs == release || $runs == debug || $runs == all ]] || die_usage "RINGKV_TESTS=$runs: release, debug or all"
  [[ -z ${1:-} ]] || filter=(--filter "$1")
  "$repo/Scripts/setup.sh" --quiet test
  find_swift
  PATH=$PATH:/usr/sbin:/sbin
  RINGKV_FAULTSHIM=$("$repo/Tests/FaultShim/build.sh")
  export PATH RINGKV_FAULTSHIM
  if [[ -z ${1:-} ]]; then
    step "testing the fault shim"
    "$repo/Tests/FaultShim/selftest.sh" || die "the fault shim failed its own tests"
  fi
  # What waits for clocks comes apart from the million-case tests, some at a time, and the real processes alone: all at
  # once they would starve.
  if [[ $runs != debug ]]; then
    run_in release --skip '^(ClusterTests|KV(Net|Client|Ctl|Node|Sim)Tests)\.'
    run_in release --skip '^(ClusterTests|KV(Model|Core|Storage|Simulator)Tests)\.' "${few[@]}"
    run_in release --skip '^KV[A-Za-z]*Tests\.'
  fi
  if [[ $runs != release ]]; then
    run_in debug --skip "$debug_skip" --skip '^(ClusterTests|KV(Net|Client|Ctl|Node|Sim)Tests)\.'
    run_in debug --skip "$debug_skip" --skip '^(ClusterTests|KV(Model|Core|Storage|Simulator)Tests)\.' "${few[@]}"
  fi
  [[ $ran_some == yes ]] || die "no test ran; filter: ${1:-none}"
  if ((${#unsteady[@]} == 0)); then step "all tests passed"; else step "all tests passed, but only alone: ${unsteady[*]}"; fi
}

main "$@"
