#!/bin/bash
# A test program like those in build/test, for run-tests.sh: what needs a /dev/kvm that boots Linux. It runs on the
# host's where that does, otherwise inside the nested bed, all of it in one boot. KTSTR_BIN_DIR names the programs.
set -euo pipefail

build=$(cd "$KTSTR_BIN_DIR/.." && pwd)
here=$(dirname "$0")
ktstr=$KTSTR_BIN_DIR/ktstr
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The program that runs them: the commands $1, with the settings $2.
write_program() {
  cat > "$work/all" << END
#!/bin/sh
$2
status=0
$1
exit \$status
END
  chmod +x "$work/all"
}
# The flat guests and then Linux, but for the tests that match $2 (":A:B*"); Linux's alone that match $1. Floods need no
# KVM that boots Linux, and take long where it is emulated.
commands() {
  [ "$1" != '*' ] || echo "$build/test/vmmcore_test --gtest_color=no --gtest_filter=*Kvm-*Flood*$2 || status=1"
  echo "$build/test/kvm/kvm_test --gtest_color=no --gtest_filter=$1-$2 || status=1"
}
performance=KvmRun.PerformanceMode*

if "$ktstr" probe > /dev/null; then
  write_program "$(commands '*' '')" "export KTSTR_TEST_VCPUS=512"
  "$work/all"
  exit
fi

# As a GoogleTest binary would say it.
skip() {
  printf '[ RUN      ] Kvm.NestedBed\n%s\n[  SKIPPED ] Kvm.NestedBed (0 ms)\n' "$*"
  exit 0
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

settings="export KTSTR_TEST_VCPUS=${KTSTR_TEST_VCPUS:-4} KTSTR_TEST_NESTED=1 KTSTR_TEST_SCX_SIMPLE=/scx_simple
export KTSTR_CACHE_DIR=/ktstr-cache KTSTR_STATE_DIR=/tmp/ktstr-state"

# The names on the lines of $work/said that say $1.
named() { sed -n "s/^\[ *$1 *\] \([^ ,]*\).*/\1/p" "$work/said"; }

# The tests that match $1, but not $2, in an L1 of $3 CPUs. What is left when L1 stalls, the test included in which it
# did, runs in another.
in_bed() {
  local status over=""
  : > "$work/said"
  for _ in 1 2 3; do
    write_program "$(commands "$1" "$2$over")" "$settings"
    status=0
    "$here/nested-bed.sh" --memory 3072 --cpus "$3" --timeout 1800 --file "$KTSTR_BIN_DIR" \
      --file "$build/test/vmmcore_test" --file "$build/test/kvm/kvm_test" --file "$here/../scenarios=/tests/scenarios" \
      --file "$work/cache=/ktstr-cache" --file "$simple=/scx_simple" --file "$(type -P busybox)" \
      --file "$(type -P lscpu)" --file "$work/all=/all" -- /bin/sh /all | tee -a "$work/said" || status=${PIPESTATUS[0]}
    [ $status = 6 ] || break
    over=$(for how in OK FAILED SKIPPED; do named $how; done | sort -u)
    named RUN | sort -u | comm -23 - <(echo "$over") | while read -r stalled; do
      printf '%s\n[  SKIPPED ] %s (0 ms)\n' "L1 stalled; again in another" "$stalled"
    done
    over=$(sed 's/^/:/' <<< "$over" | tr -d '\n')
  done
  [ -z "$(named FAILED)" ] || return 1
  return $status
}
# One CPU is what nested guests are safest on; performance mode leaves one of its CPUs to the harness.
# The smallest topology is what Debian/Kvm's V73Vcpus1 boots, too: make check-kvm has the time for both.
booted=""
[ -n "${KTSTR_TEST_VCPUS:-}" ] || booted=":*TopologyOnKvm*/1n1l1c1t"
result=0
in_bed '*' ":$performance$booted" 1 || result=$?
in_bed "$performance" "" 2 || result=$?
exit $result
