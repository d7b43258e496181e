#!/bin/bash
# Runs what needs a /dev/kvm that boots Linux: on the host's where that does, otherwise inside the nested bed.
#   check-kvm.sh BUILD
set -euo pipefail

build=$1
export KTSTR_BIN_DIR=${KTSTR_BIN_DIR:-$PWD/$build/bin}
ktstr=$KTSTR_BIN_DIR/ktstr

programs=("$PWD/$build/test/vmmcore_test --gtest_filter=*Kvm" "$PWD/$build/test/system/kvm_test")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%s\n' '#!/bin/sh' 'status=0' "${programs[@]/%/ --gtest_color=no || status=1}" 'exit $status' > "$work/kvm_tests"
chmod +x "$work/kvm_tests"
if "$KTSTR_BIN_DIR/ktstr-vmm" --probe > /dev/null; then
  tests/tools/run-tests.sh "$build" "$work/kvm_tests"
  exit
fi

# What the tests will look for in the cache goes along: two kernels, the schedulers, nothing else of it.
for kernel in debian:7.3 debian:6.18; do "$ktstr" kernel get "$kernel" > /dev/null; done
cache=$("$ktstr" kernel path debian:7.3); cache=${cache%/entries/*}
mkdir -p "$work/cache/entries/kernel" "$work/cache/aliases"
for kernel in debian:7.3 debian:6.18; do cp -r "$(dirname "$("$ktstr" kernel path "$kernel")")" "$work/cache/entries/kernel/"; done
simple=$("$ktstr" scheduler path scx_simple --kernel debian:7.3)
cp -r "$cache/aliases/." "$work/cache/aliases/"

cat > "$work/bed_test" << END
#!/bin/bash
KTSTR_CACHE_DIR=/ktstr-cache KTSTR_STATE_DIR=/tmp/ktstr-state KTSTR_TEST_SCX_SIMPLE=/scx_simple \\
  exec "$PWD/tests/tools/nested-bed.sh" --memory 3072 --timeout 900 \\
  --file "$KTSTR_BIN_DIR" --file "$PWD/$build/test/vmmcore_test" --file "$PWD/$build/test/system/kvm_test" \\
  --file "$PWD/tests/scenarios=/tests/scenarios" --file "$work/cache=/ktstr-cache" --file "$simple=/scx_simple" --file "$work/kvm_tests=/kvm_tests" -- /bin/sh /kvm_tests
END
chmod +x "$work/bed_test"
tests/tools/run-tests.sh "$build" "$work/bed_test"
