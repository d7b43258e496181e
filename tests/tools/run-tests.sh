#!/bin/bash
# Runs the test binaries below BUILD and closes with one line: "N passed, N failed, N skipped".
#   run-tests.sh BUILD unit|system|PROGRAM ...
# Every skipped test is listed with its reason. A binary that runs no test at all counts as a failure.
set -uo pipefail

build=$1; shift
export KTSTR_BIN_DIR=${KTSTR_BIN_DIR:-$PWD/$build/bin}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
passed=0; failed=0; skipped=0; failures=""; skips=""

run() {
  local binary=$1 hidden=$2 name log status ran ok skip
  name=$(basename "$binary")
  log=$results/$name.log
  echo "== $name"
  "$binary" --gtest_color=no 2>&1 | tee "$log" | grep --line-buffered -vE "$hidden"
  status=${PIPESTATUS[0]}
  ran=$(grep -c '^\[ RUN' "$log")
  ok=$(grep -c '^\[       OK' "$log")
  skip=$(grep -cE '^\[  SKIPPED \] .*\(' "$log")
  passed=$((passed + ok)); skipped=$((skipped + skip))
  local bad=$((ran - ok - skip))
  if [ "$ran" = 0 ]; then bad=1; failures+=$'\n'"  $name: ran no test"; fi
  if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; failures+=$'\n'"  $name: ended with status $status"; fi
  failed=$((failed + bad))
  [ "$bad" = 0 ] || failures+=$'\n'"$(grep -E '^\[  FAILED  \] .*\([0-9]+ ms\)' "$log" | sed "s/^/  $name: /" | sort -u)"
  [ "$skip" = 0 ] || skips+=$'\n'"$(grep -B3 -E '^\[  SKIPPED \] .*\(' "$log" | grep -v '^\[ RUN\|^--' | sed "s/^/  $name: /")"
}

for kind in "$@"; do
  case "$kind" in
    unit) for binary in "$build"/test/*_test; do run "$binary" '^\[( RUN|       OK|---)|^$'; done ;;
    system) for binary in "$build"/test/system/*_test; do run "$binary" '^\[( RUN|---)|^$'; done ;;
    *) run "$kind" '^\[( RUN|---)|^$' ;;
  esac
done
[ -z "$skips" ] || echo $'\nSkipped, with the reason:'"$skips"
[ -z "$failures" ] || echo $'\nFailed:'"$failures"
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
