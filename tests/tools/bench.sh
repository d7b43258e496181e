#!/bin/bash
# Measures the figures of README's table on this machine, side by side with plain QEMU where that is a rival.
#   bench.sh BUILD [RUNS]
# Every line: figure, its bar, then median (minimum .. maximum) over RUNS runs. Nothing here fails for being slow, and
# what cannot be measured on this machine says so.
set -euo pipefail

bin=$1/bin
runs=${2:-5}
objects=$1/obj
kernel=debian:7.3
export KTSTR_STATE_DIR
KTSTR_STATE_DIR=$(mktemp -d)
trap 'rm -rf "$KTSTR_STATE_DIR"' EXIT

. "$(dirname "$0")/figures.sh"
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN {print b - a}'; }

"$bin/ktstr" kernel get $kernel > /dev/null
build_id=$("$bin/ktstr" kernel list --json | jq -r 'select(.kernel.spec | test("7[.]3")) | .kernel.buildId' | head -n 1)
vmlinuz=$("$bin/ktstr" kernel path $kernel vmlinuz)
records=$KTSTR_STATE_DIR/records.jsonl
walls=$KTSTR_STATE_DIR/walls
analysis=${KTSTR_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ktstr}/entries/analysis

run() { "$bin/ktstr" run tests/scenarios/basic.json --kernel $kernel --topology 1n1l4c1t --duration 1s --format jsonl "$@" || true; }

host_line
echo
for _ in $(seq "$runs"); do rm -rf "$analysis/$build_id"*; run >> "$records.cold"; done
for _ in $(seq "$runs"); do start=$(now); run >> "$records"; since "$start" >> "$walls"; done

line "prepare a machine, 4 vCPUs, 512 MiB, warm caches" "<= 20 ms" \
  "$(jq '.phases[] | select(.name == "prepare") | .durationMs' "$records" | spread ms)"
line "initramfs base, warm" "<= 1 ms" \
  "$(jq '.phases[] | select(.name == "image") | .durationMs' "$records" | spread ms)"
line "whole ktstr run of a 1 s scenario, TCG, 4 vCPUs" "<= 6 s" "$(spread s < "$walls")"
line "  of which the kernel to init" "" \
  "$(jq '.phases[] | select(.name == "kernel") | .durationMs / 1000' "$records" | spread s)"
attach() { jq ".monitorAttach.$1 / 1000" "$records.cold" | spread ms; }
line "monitor: attach, symbols decoded (cold)" "<= 100 ms" "$(attach totalMicros)"
line "  of which the kernel's kallsyms decoded" "" "$(attach symbolsMicros)"
line "  of which its BTF decoded" "" "$(attach btfMicros)"
line "monitor: attach, symbols from the cache" "<= 5 ms" \
  "$(jq 'select(.monitorAttach.cached) | .monitorAttach.totalMicros / 1000' "$records" | spread ms)"
line "monitor: one full sample of 4 CPUs, in runs" "<= 100 us" "$(jq '.monitor.meanCostNs / 1000' "$records" | spread us)"
for _ in $(seq "$runs"); do run --scheduler scx_simple >> "$records.simple"; done
line "  under scx_simple" "<= 100 us" "$(jq '.monitor.meanCostNs / 1000' "$records.simple" | spread us)"

# Dumps of a live guest, whose scheduler has maps of many kinds.
dumps=$KTSTR_STATE_DIR/dumps
"$bin/ktstr" run tests/scenarios/basic.json --kernel $kernel --topology 1n1l4c1t --duration 3s --scheduler scx_qmap \
  --snapshots "$runs" --format jsonl > "$dumps" || true
dumps=$(jq -r .directory "$dumps")/snapshots.jsonl
line "monitor: a full dump of 4 CPUs under scx_qmap: frozen" "<= 20 ms" "$(jq '.frozenNs / 1e6' "$dumps" | spread ms)"
line "  rendered" "<= 50 ms" "$(jq '.renderNs / 1e6' "$dumps" | spread ms)"

# The monitor's memory, attached to a kept RAM image.
"$bin/ktstr" run tests/scenarios/basic.json --kernel $kernel --topology 1n1l4c1t --duration 500ms --keep --format jsonl > "$records.keep" || true
ram=$(jq -r .directory "$records.keep")/ram.bin
rss() { /usr/bin/time -f %M "$bin/ktstr-monitor" --ram "$ram" --count 20 --period-ms 10 2>&1 > /dev/null | tail -n 1 | awk '{print $1 / 1024}'; }
for _ in $(seq "$runs"); do rss; done > "$records.rss"
line "monitor: resident memory, no cache at hand" "<= 32 MiB" "$(spread MiB < "$records.rss")"

looks=$KTSTR_STATE_DIR/looks
"$1/bench/monitor-bench" "$ram" $((runs * 3)) > "$looks"
look_values() { awk -F'\t' -v name="$1" '$1 == name {print $2}' "$looks"; }
look_line() { line "$1" "$2" "$(look_values "$3" | spread us)"; }
look_line "monitor: one full sample of 4 CPUs, warm" "<= 100 us" "full sample"

# More than 100 tasks: a machine that dies while its workers work leaves them in its RAM.
cat > "$KTSTR_STATE_DIR/many.json" << 'END'
{"name": "many", "durationMs": 500,
 "steps": [{"name": "many", "cgroups": [{"name": "all", "work": [{"workers": 40, "type": {"spinWait": {}}}]}]}]}
END
"$bin/ktstr" run "$KTSTR_STATE_DIR/many.json" --kernel $kernel --topology 1n1l4c1t --keep --append ktstr.inject=panic \
  --format jsonl > "$records.many" || true
ram=$(jq -r .directory "$records.many")/ram.bin
"$1/bench/monitor-bench" "$ram" $((runs * 3)) > "$looks"
task_list=$(look_values "task list" | median)
look_line "monitor: $(awk -F'\t' '$1 == "number of tasks" {print $2}' "$looks") tasks listed, warm" "<= 1 ms" "task list"
look_line "monitor: the kernel's types (BTF) read" "<= 100 ms" "kernel types"
look_line "monitor: one task_struct rendered as JSON" "<= 50 ms" "task_struct as JSON"

# A machine of 64 CPUs, whatever becomes of the run: its memory is what is looked at.
"$bin/ktstr" run tests/scenarios/basic.json --kernel $kernel --topology 1n4l16c1t --memory 2G --duration 500ms --keep --format jsonl > "$records.wide" || true
"$1/bench/monitor-bench" "$(jq -r .directory "$records.wide")/ram.bin" $((runs * 3)) > "$looks" || true
look_line "monitor: one full sample of $(awk -F'\t' '$1 == "number of CPUs" {print $2}' "$looks") CPUs, warm" "<= 1 ms" "full sample"
wide() { "$bin/ktstr" run tests/scenarios/basic.json --kernel $kernel --topology 1n4l16c1t --memory 2G --duration 1s --scheduler scx_simple --format jsonl || true; }
for _ in $(seq 2); do wide; done | jq '.monitor.meanCostNs / 1000 | select(. > 0)' > "$records.wide-simple"
if [ -s "$records.wide-simple" ]; then
  line "  in runs under scx_simple" "<= 1 ms" "$(spread us < "$records.wide-simple")"
else
  echo "SKIPPED: 64 CPUs under scx_simple: this machine did not get one through its boot in time"
fi

# Rivals for the looks: drgn on a core of the same guest, and bpftool on the same kernel's BTF.
vmlinux=$("$bin/ktstr" kernel path $kernel vmlinux)
core=$KTSTR_STATE_DIR/core
drgn() { /usr/bin/python3 tests/tools/drgn_tasks.py "$core" --runs $((runs * 3)) "$@" 2> "$KTSTR_STATE_DIR/drgn" > /dev/null; }
drgn_line() { line "$1" "" "$(awk -F'\t' -v name="drgn: $2" '$1 == name {print $2 / 1000}' "$KTSTR_STATE_DIR/drgn" | spread ms)"; }
start=$(now)
"$bin/ktstr-monitor" core --ram "$ram" > "$core"
line "monitor: an ELF vmcore of it, 512 MiB" "" "$(since "$start" | spread s)"
if drgn --btf "$vmlinux" --init-task "$("$bin/ktstr-monitor" symbol init_task --core "$core" | jq -r .address)"; then
  drgn_line "  rival: drgn lists the same tasks, warm" "task list"
  drgn_list=$(awk -F'\t' '$1 == "drgn: task list" {print $2}' "$KTSTR_STATE_DIR/drgn" | median)
  line "  the rival takes so many times as long" ">= 50" "$(awk -v a="$drgn_list" -v b="$task_list" 'BEGIN {printf "%.0f", a / b}')"
else
  echo "SKIPPED: drgn: $(tail -n 1 "$KTSTR_STATE_DIR/drgn")"
fi
if [ -n "${KTSTR_DEBUG_VMLINUX:-}" ] && drgn --debug "$KTSTR_DEBUG_VMLINUX"; then
  drgn_line "  rival: drgn lists them by DWARF, warm" "task list"
  drgn_line "  rival: drgn's index of the kernel's DWARF" "index"
else
  echo "SKIPPED: drgn by DWARF, and its index, are NOT measured: KTSTR_DEBUG_VMLINUX names no vmlinux of this kernel with debug information"
fi
if PATH=$PATH:/usr/sbin command -v bpftool > /dev/null; then
  for _ in $(seq "$runs"); do start=$(now); PATH=$PATH:/usr/sbin bpftool btf dump file "$vmlinux" > /dev/null; since "$start"; done \
    > "$KTSTR_STATE_DIR/bpftool"
  line "  rival: bpftool reads and prints the same BTF" "" "$(spread s < "$KTSTR_STATE_DIR/bpftool")"
else
  echo "SKIPPED: bpftool is not installed (make deps)"
fi

# The rival for the boot: the same kernel through QEMU's own loader and firmware.
rival() {
  local start; start=$(now)
  timeout 120 qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 4 -m 512 -nodefaults -no-user-config -display none \
    -serial file:"$KTSTR_STATE_DIR/console" -no-reboot -kernel "$vmlinuz" \
    -append "console=ttyS0 panic=-1 reboot=k quiet root=/dev/none" > /dev/null 2>&1 || true
  since "$start"
}
for _ in $(seq "$runs"); do rival; done > "$records.rival"
line "rival: QEMU -kernel and SeaBIOS, the same kernel to the end of its boot" "" "$(spread s < "$records.rival")"


# ---- ktstr-vmm on this machine's /dev/kvm ------------------------------------------------------------------------

# The C++ files of ours in program $1: the sources that its debug information names, and their headers.
sources_of() {
  local source
  readelf --debug-dump=info --dwarf-depth=1 "$1" | sed -n 's/.*DW_AT_name.*: \(.*\)\.cc$/\1/p' | while read -r source; do
    echo "$source.cc"
    tr ' ' '\n' < "$objects/$source.d" | grep -E '^[a-z][a-z_/]*\.h$' | grep -v "^${objects%/obj}/"
  done | sort -u
}
# Their lines that are neither blank nor comment, of the files whose path matches $2.
code_lines() { sources_of "$1" | grep "$2" | xargs cat | grep -cvE '^[[:space:]]*(//.*)?$'; }

echo
line "ktstr-vmm: lines of code linked into it" "<= 3,000" "$(code_lines "$bin/ktstr-vmm" .)"
line "  of which in vmm/" "" "$(code_lines "$bin/ktstr-vmm" '^vmm/')"

kvm=$KTSTR_STATE_DIR/kvm   # three times as many runs: they are short, and what they wait for varies
KTSTR_BIN_DIR=$(realpath "$bin") "$1/bench/kvm-bench" $((runs * 3)) > "$kvm" || [ $? = 5 ] \
  || echo "FAILED: kvm-bench did not get to its end"
sed -n 's/^skipped\t/SKIPPED: /p' "$kvm"
# What kvm-bench says of name $3, as a line "$1" with the bar "$2".
kvm_line() {
  local values unit
  values=$(awk -F'\t' -v name="$3" '$1 == name {print $2}' "$kvm")
  unit=$(awk -F'\t' -v name="$3" '$1 == name {print $3; exit}' "$kvm")
  [ -z "$values" ] || line "$1" "$2" "$(spread "$unit" <<< "$values")"
}
kvm_line "boot request to first instruction, 4 vCPUs, 512 MiB, KVM" "<= 5 ms" "request to first instruction"
kvm_line "  from the exec of ktstr-vmm" "< rival" "exec to first instruction"
kvm_line "  rival: from the exec of QEMU microvm" "" "rival: exec to first instruction"
kvm_line "ktstr-vmm: CPU time until it answers" "<= 8 ms" "CPU time until it answers"
kvm_line "  until it has booted a machine" "" "CPU time until it has booted"
kvm_line "ktstr-vmm: resident memory above guest RAM" "<= 5 MiB" "resident above guest RAM"
kvm_line "  of which its program and libraries" "" "resident files"
kvm_line "8 machines at once: all at their first instruction" "" "at once, all at their first instruction"
kvm_line "100 machines in a row: each from start to end" "" "one of a row"
kvm_line "  the last ten against the first ten" "" "row, last tenth against first"
kvm_line "  resident memory of the last, more than the first's" "0" "row, resident, last against first"
kvm_line "  memory of the kernel grown meanwhile" "" "row, kernel memory grown"
kvm_line "  descriptors left behind" "0" "row, descriptors left"
kvm_line "  processes left behind" "0" "row, processes left"

echo
echo "Telemetry of a worker, <= 1 % of its CPU time:"
"$1/bench/work-bench"

# ---- Linux on KVM ------------------------------------------------------------------------------------------------

echo
"$(dirname "$0")/bench-kvm.sh" "$1" 2
