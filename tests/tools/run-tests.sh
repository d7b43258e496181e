#!/bin/bash
# Runs the test binaries below BUILD and closes with one line: "N passed, N failed, N skipped".
#   run-tests.sh BUILD unit|system|PROGRAM ...
# The binaries of a kind run side by side, KTSTR_TEST_LANES (default: the number of CPUs) at once; a PROGRAM runs alone.
# Machines are noisy and emulated guests are slow: in the end, alone, at most three failed tests of a binary get two more
# tries, and those skipped because the host was starved one more. One that passes then is listed as unsteady, with what
# it said before above. Every skipped test is listed with its reason. A binary that runs no test at all has failed.
set -uom pipefail

build=$1; shift
export KTSTR_BIN_DIR=${KTSTR_BIN_DIR:-$PWD/$build/bin}
lanes=${KTSTR_TEST_LANES:-$(nproc)}
results=$(mktemp -d)
trap 'for job in $(jobs -p); do kill -- "-$job" 2> /dev/null; done; rm -rf "$results"' EXIT
trap 'exit 130' INT TERM
programs=()

# A program by its place: some libraries and system tests share a name.
name_of() { echo "${1#"$build"/test/}"; }
log_of() { echo "$results/$(name_of "$1" | tr / -).log"; }

# Runs $1 with what else is given, its output to the log $2 and here, after its name and without the lines that match $3.
execute() {
  local binary=$1 log=$2 hidden=$3
  shift 3
  "$binary" --gtest_color=no "$@" 2>&1 < /dev/null | tee "$log" | grep --line-buffered -vE "$hidden" |
    sed -u "s|^|$(name_of "$binary"): |"
  return "${PIPESTATUS[0]}"
}

first() {
  local log
  log=$(log_of "$1")
  execute "$1" "$log" "$2"
  echo $? > "$log.status"
}

# All of "$3" ..., $1 at once, without the lines that match $2.
side_by_side() {
  local lanes=$1 hidden=$2
  shift 2
  for binary in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "$lanes" ]; do wait -n; done
    first "$binary" "$hidden" &
  done
  wait
  programs+=("$@")
}

# "NAME OUTCOME" of each test that began in the log $1: ok, failed (also where the binary ended in its middle), skipped,
# or starved: skipped since the host or the emulated machine did not get on.
outcomes() {
  awk '
    /^\[ RUN/ { name = $4; text = ""; outcome[name] = "failed" }
    { text = text $0 }
    /^\[       OK \] .*\([0-9]+ ms\)$/ { outcome[name] = "ok" }
    /^\[  SKIPPED \] .*\([0-9]+ ms\)$/ { outcome[name] = text ~ /host is starved|machine stalled/ ? "starved" : "skipped" }
    END { for (name in outcome) print name, outcome[name] }' "$1" | sort
}

# The names in outcomes $2 whose outcome matches $1.
those() { awk -v outcome="^($1)$" '$2 ~ outcome { print $1 }' <<< "$2"; }
count() { grep -c . <<< "$1"; }
list() { [ -z "$2" ] || sed "s|^|  $1: |" <<< "$2"; }

# What the program $1 said, in the log $3, of those of the tests $2 that were skipped or failed.
reasons() {
  awk -v program="$(name_of "$1")" -v names="$2" '
    BEGIN { split(names, list, "\n"); for (i in list) wanted[list[i]] }
    /^\[ RUN/ { name = $4; text = ""; next }
    { text = text "  " program ": " $0 "\n" }
    /^\[  (SKIPPED|FAILED ) \] .*\([0-9]+ ms\)$/ && name in wanted { printf "%s", text }' "$3"
}

# More tries of the binary $1, and what has become of its tests.
conclude() {
  local binary=$1 name log before after again status expected which
  name=$(name_of "$binary")
  log=$(log_of "$binary")
  status=$(cat "$log.status")
  before=$(outcomes "$log")
  after=$before
  for which in "starved|failed" failed; do
    again=$(those "$which" "$after")
    [ "$(count "$(those failed "$after")")" -le 3 ] || again=$(those starved "$after")
    [ -n "$again" ] || break
    echo "== $name, again:" $again
    execute "$binary" "$log.again" '^\[( RUN|---)|^$' --gtest_filter="$(tr '\n' ':' <<< "$again")"
    # One that was skipped this time is as it was.
    after=$(awk 'NR == FNR { if ($2 ~ /ok|failed/) next_one[$1] = $2; next } { print $1, $1 in next_one ? next_one[$1] : $2 }' \
      <(outcomes "$log.again") <(echo "$after"))
  done
  unsteady+=$(list "$name" "$(comm -13 <(those ok "$before") <(those ok "$after"))")$'\n'
  passed=$((passed + $(count "$(those ok "$after")")))
  skips+=$(reasons "$binary" "$(those "skipped|starved" "$after")" "$log")$'\n'
  skipped=$((skipped + $(count "$(those "skipped|starved" "$after")")))
  again=$(those failed "$after")
  expected=$(sed -nE 's/^\[=+\] Running ([0-9]+) tests? from.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
  if [ -z "$before" ]; then again="ran no test and ended with status $status"; fi
  if [ -n "$before" ] && [ "$status" != 0 ] && { [ "$(count "$before")" -lt "$expected" ] || [ -z "$(those failed "$before")" ]; }; then
    again+=$'\n'"ran $(count "$before") of $expected tests and ended with status $status"
  fi
  again=$(grep . <<< "$again")
  failed=$((failed + $(count "$again")))
  failing+=$(list "$name" "$again")$'\n'
  [ ! -e "$log.again" ] || log+=.again
  said+=$(reasons "$binary" "$again" "$log")$'\n'
}

for kind in "$@"; do
  case "$kind" in
    unit) side_by_side "$lanes" '^\[( RUN|       OK|---|===)|^$|^Running main' "$build"/test/*_test ;;
    system) side_by_side "$lanes" '^\[( RUN|---)|^$|^Running main' "$build"/test/system/*_test ;;
    *) side_by_side 1 '^\[( RUN|---)|^$' "$kind" ;;
  esac
done
passed=0; failed=0; skipped=0; failing=""; skips=""; unsteady=""; said=""
for program in "${programs[@]}"; do conclude "$program"; done
report() { [ -z "$(grep . <<< "$2")" ] || printf '\n%s\n%s\n' "$1" "$(grep . <<< "$2")"; }
report "Skipped, with the reason:" "$skips"
report "Unsteady, passed only when tried again:" "$unsteady"
report "What those said last that failed:" "$said"
report "Failed:" "$failing"
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
