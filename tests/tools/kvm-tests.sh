#!/bin/bash
# A test program like those in build/test, for run-tests.sh: what needs a /dev/kvm that boots Linux. It runs on the
# host's where that does, otherwise inside the nested bed. KTSTR_BIN_DIR names the programs.
# With KTSTR_NEED_KVM=1 it fails where neither can be had, instead of skipping.
#   kvm-tests.sh [--gtest_color=no] [--gtest_filter=NAME:NAME]
set -euo pipefail

build=$(cd "$KTSTR_BIN_DIR/.." && pwd)
here=$(dirname "$0")
ktstr=$KTSTR_BIN_DIR/ktstr
work=$(mktemp -d)
# A bed in the background hears no ^C.
names=""
for word in "$@"; do
  case "$word" in --gtest_filter=*) names=${word#*=} ;; esac
done
trap 'for bed in $(jobs -p); do pkill -P "$bed" || true; done; rm -rf "$work"' EXIT

# The program $1 that runs them: the commands $2, with the settings $3.
write_program() {
  cat > "$1" << END
#!/bin/sh
$3
status=0
$2
exit \$status
END
  chmod +x "$1"
}
# What matches $1 of the flat guests and then of Linux, but for the tests that match $2 (":A:B*"). Floods need no KVM that
# boots Linux, and take long where it is emulated.
commands() {
  local flat=$1
  [ "$1" != '*' ] || flat="*Kvm"
  echo "$build/test/vmmcore_test --gtest_color=no --gtest_filter=$flat-*Flood*$2 || status=1"
  echo "$build/test/kvm/kvm_test --gtest_color=no --gtest_filter=$1-$2 || status=1"
}
performance=KvmRun.PerformanceMode*

if "$ktstr" probe > /dev/null; then
  write_program "$work/all" "$(commands "${names:-*}" "")" "export KTSTR_TEST_VCPUS=512"
  "$work/all"
  exit
fi

# As a GoogleTest binary would say it.
skip() {
  local outcome='[  SKIPPED ]' status=0
  if [ -n "${KTSTR_NEED_KVM:-}" ]; then outcome='[  FAILED  ]' status=1; fi
  printf '[ RUN      ] Kvm.NestedBed\n%s\n%s Kvm.NestedBed (0 ms)\n' "$*" "$outcome"
  exit $status
}
why=$(mktemp -p "$work")
for kernel in "debian:7.3 --with-modules" debian:7.3 debian:6.18; do
  # shellcheck disable=SC2086
  "$ktstr" kernel get $kernel > /dev/null 2> "$why" || skip "no kernel for the nested bed: $(tail -n 1 "$why")"
done

# What the tests will look for in the cache goes along: two kernels and a scheduler, nothing else of it.
mkdir -p "$work/cache/entries/kernel" "$work/cache/aliases"
for kernel in debian:7.3 debian:6.18; do
  entry=$(dirname "$("$ktstr" kernel path "$kernel")")
  cp -r "$entry" "$work/cache/entries/kernel/"
done
cp -r "${entry%/entries/*}/aliases/." "$work/cache/aliases/"
simple=$("$ktstr" scheduler path scx_simple --kernel debian:7.3 2> "$why") ||
  skip "no scheduler for the nested bed: $(tail -n 1 "$why")"

settings="export KTSTR_TEST_VCPUS=${KTSTR_TEST_VCPUS:-6} KTSTR_TEST_NESTED=1 KTSTR_TEST_SCX_SIMPLE=/scx_simple
export KTSTR_CACHE_DIR=/ktstr-cache KTSTR_STATE_DIR=/tmp/ktstr-state"

# The names on the lines of $2 that say $1.
named() { sed -n "s/^\[ *$1 *\] \([^ ,]*\).*/\1/p" "$2"; }

# The tests that match $1, but not $2, in an L1 of $3 CPUs. What is left when L1 stalls, the test included in which it
# did, runs in another.
in_bed() {
  local status over="" files
  files=$(mktemp -d -p "$work")
  : > "$files/said"
  for _ in 1 2 3; do
    write_program "$files/all" "$(commands "$1" "$2$over")" "$settings"
    status=0
    "$here/nested-bed.sh" --memory 3072 --cpus "$3" --timeout 1800 --file "$KTSTR_BIN_DIR" \
      --file "$build/test/vmmcore_test" --file "$build/test/kvm/kvm_test" --file "$here/../scenarios=/tests/scenarios" \
      --file "$work/cache=/ktstr-cache" --file "$simple=/scx_simple" --file "$(type -P busybox)" \
      --file "$(type -P lscpu)" --file "$files/all=/all" -- /bin/sh /all | tee -a "$files/said" || status=${PIPESTATUS[0]}
    [ $status = 6 ] || break
    over=$(for how in OK FAILED SKIPPED; do named $how "$files/said"; done | sort -u)
    named RUN "$files/said" | sort -u | comm -23 - <(echo "$over") | while read -r stalled; do
      printf '%s\n[  SKIPPED ] %s (0 ms)\n' "L1 stalled; again in another" "$stalled"
    done
    over=$(sed 's/^/:/' <<< "$over" | tr -d '\n')
  done
  [ -z "$(named FAILED "$files/said")" ] || return 1
  return $status
}

# One CPU is what nested guests are safest on, so two beds at once; performance mode leaves one of its CPUs to the
# harness. The smallest topology is what Debian/Kvm's V73Vcpus1 boots, too: make check-kvm has the time for both.
result=0
if [ -n "$names" ]; then
  cpus=1
  [[ "$names" != *PerformanceMode* ]] || cpus=2
  in_bed "$names" "" $cpus
  exit
fi
booted=""
[ -n "${KTSTR_TEST_VCPUS:-}" ] || booted=":*TopologyOnKvm*/1n1l1c1t"
other="*V618*:*V73Vcpus1:KvmRun.*"
in_bed "$other" ":$performance" 1 > "$work/other" 2>&1 &
in_bed '*' ":$other$booted" 1 || result=$?
wait $! || result=$?
cat "$work/other"
in_bed "$performance" "" 2 || result=$?
exit $result
