#!/bin/bash
# Runs the test binaries below BUILD and closes with one line: "N passed, N failed, N skipped".
#   run-tests.sh BUILD unit|system|PROGRAM ...
# Every skipped test is listed with its reason. A binary that runs no test at all counts as a failure. Machines are noisy
# and emulated guests are slow: where at most three tests of a binary fail, each gets a second try, alone. One that passes
# then is listed as unsteady, with what it said the first time above.
set -uo pipefail

build=$1; shift
export KTSTR_BIN_DIR=${KTSTR_BIN_DIR:-$PWD/$build/bin}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
passed=0; failed=0; skipped=0; failures=""; skips=""; unsteady=""

# The names on the lines of $2 that say $1 and are a test's.
named() { sed -nE "s/^\[ *$1 *\] ([^ ,]*).* \([0-9]+ ms\)$/\1/p" "$2" | sort -u; }

# Runs $1 with what else is given, its output to the log $2 and here without the lines that match $3.
execute() {
  local binary=$1 log=$2 hidden=$3
  shift 3
  "$binary" --gtest_color=no "$@" 2>&1 | tee "$log" | grep --line-buffered -vE "$hidden"
  return "${PIPESTATUS[0]}"
}

run() {
  local binary=$1 hidden=$2 name log status=0 ran ok skip names
  name=$(basename "$binary")
  log=$results/$name.log
  echo "== $name"
  execute "$binary" "$log" "$hidden" || status=$?
  ran=$(grep -c '^\[ RUN' "$log")
  ok=$(grep -c '^\[       OK' "$log")
  skip=$(grep -cE '^\[  SKIPPED \] .*\(' "$log")
  names=$(named FAILED "$log")
  local bad=$((ran - ok - skip)) again=0
  if [ "$bad" != 0 ] && [ "$bad" -le 3 ] && [ "$(wc -w <<< "$names")" = "$bad" ]; then
    echo "== $name, again:" $names
    execute "$binary" "$log.again" "$hidden" --gtest_filter="$(tr '\n' ':' <<< "$names")"
    again=$(named OK "$log.again" | wc -l)
    [ "$again" = 0 ] || unsteady+=$'\n'"$(named OK "$log.again" | sed "s/^/  $name: /")"
    [ "$again" != "$bad" ] || status=0
    names=$(comm -23 <(echo "$names") <(named OK "$log.again"))
    bad=$((bad - again))
  fi
  passed=$((passed + ok + again)); skipped=$((skipped + skip))
  if [ "$ran" = 0 ]; then bad=1; failures+=$'\n'"  $name: ran no test"; fi
  if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; failures+=$'\n'"  $name: ended with status $status"; fi
  failed=$((failed + bad))
  [ -z "$names" ] || failures+=$'\n'"$(sed "s/^/  $name: /" <<< "$names")"
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
[ -z "$unsteady" ] || echo $'\nUnsteady, passed only the second time:'"$unsteady"
[ -z "$failures" ] || echo $'\nFailed:'"$failures"
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
