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
# Floods need no KVM that boots Linux, and take long where it is emulated.
flat="$build/test/vmmcore_test --gtest_color=no --gtest_filter=*Kvm-*Flood* || status=1"
linux="$build/test/kvm/kvm_test --gtest_color=no"
performance=KvmRun.PerformanceMode*

if "$ktstr" probe > /dev/null; then
  write_program "$flat
$linux || status=1" "export KTSTR_TEST_BIG=1"
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

# in_bed COMMANDS CPUS
in_bed() {
  write_program "$1" "unset KTSTR_TEST_BIG
export KTSTR_CACHE_DIR=/ktstr-cache KTSTR_STATE_DIR=/tmp/ktstr-state KTSTR_TEST_SCX_SIMPLE=/scx_simple KTSTR_TEST_NESTED=1"
  "$here/nested-bed.sh" --memory 3072 --cpus "$2" --timeout 1800 --file "$KTSTR_BIN_DIR" \
    --file "$build/test/vmmcore_test" --file "$build/test/kvm/kvm_test" --file "$here/../scenarios=/tests/scenarios" \
    --file "$work/cache=/ktstr-cache" --file "$simple=/scx_simple" --file "$(type -P busybox)" \
    --file "$(type -P lscpu)" --file "$work/all=/all" -- /bin/sh /all
}
# One CPU is what nested guests are safe on; performance mode leaves one of its CPUs to the harness.
status=0
in_bed "$flat
$linux --gtest_filter=-$performance || status=1" 1 || status=$?
in_bed "$linux --gtest_filter=$performance || status=1" 2 || status=$?
exit $status
