#!/bin/bash
# Measures how long Linux takes to boot on KVM under ktstr-vmm, beside QEMU's microvm with the same kernel. Both run by
# turns on the same /dev/kvm: the host's where that boots Linux, otherwise that of one boot of the nested bed, where
# only the ratio means something. Slow: in the bed a boot takes half a minute.
#   bench-kvm.sh BUILD [RUNS]
set -euo pipefail

bin=$(realpath "$1/bin")
runs=${2:-3}
here=$(realpath "$(dirname "$0")")
kernel=debian:7.3
ktstr=$bin/ktstr
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export KTSTR_BIN_DIR=$bin
. "$here/figures.sh"

skip() { echo "SKIPPED: Linux on KVM: $*"; exit 0; }

# An init that resets, so that QEMU's boot ends where ours does. No /dev: nothing to be read or said.
make_initrd() {
  mkdir -p "$work/initrd"
  cp "$(type -P busybox)" "$work/initrd/busybox"
  printf '#!/busybox sh\n/busybox reboot -f\n' > "$work/initrd/init"
  chmod 755 "$work/initrd/init"
  (cd "$work/initrd" && printf '%s\n' init busybox | busybox cpio -o -H newc -R 0:0) > "$work/initrd.cpio" 2> /dev/null
}

# Runs both by turns: settings $1, kernel $2, scenario $3, initrd $4. Prints "ktstr RECORD" and "microvm BEGIN END
# STATUS"; by /proc/uptime, to 10 ms.
write_program() {
  cat > "$work/program" << END
$1
uptime() { cut -d' ' -f1 /proc/uptime; }
for i in \$(seq $runs); do
  echo "ktstr \$($ktstr run $3 --kernel $kernel --topology 1n1l1c1t --duration 500ms --accel kvm --format jsonl 2> /dev/null)"
  begin=\$(uptime)
  timeout 120 $qemu -M microvm -accel kvm -cpu max -smp 1 -m 512 -nodefaults -no-user-config -display none \\
    -serial file:/dev/null -no-reboot -kernel $2 -initrd $4 -append "console=ttyS0 panic=-1 reboot=t quiet" < /dev/null 2> /dev/null
  status=\$?
  echo "microvm \$begin \$(uptime) \$status"
done
END
}

run_in_bed() {
  local entry directory firmware=()
  entry=$(dirname "$vmlinux")
  mkdir -p "$work/cache/entries/kernel" "$work/cache/aliases"
  cp -r "$entry" "$work/cache/entries/kernel/"
  cp -r "${entry%/entries/*}/aliases/." "$work/cache/aliases/"
  write_program "export KTSTR_CACHE_DIR=/ktstr-cache KTSTR_STATE_DIR=/tmp/ktstr-state" \
    "/ktstr-cache/entries/kernel/$(basename "$entry")/vmlinux" /tests/scenarios/basic.json /initrd.cpio
  for directory in /usr/share/qemu /usr/share/seabios; do
    [ ! -d $directory ] || firmware+=(--file $directory)
  done
  "$here/nested-bed.sh" --memory 3072 --timeout 900 --file "$bin" --file "$qemu" "${firmware[@]}" \
    --file "$here/../scenarios=/tests/scenarios" --file "$work/cache=/ktstr-cache" \
    --file "$work/initrd.cpio=/initrd.cpio" --file "$work/program=/program" -- /bin/sh /program
}

# Seconds of the records' phases named in the jq list $1.
phases() {
  sed -n 's/^ktstr //p' "$work/out" | jq "[.phases[] | select(.name | IN($1)) | .durationMs / 1000] | add"
}

qemu=$(type -P qemu-system-x86_64) || skip "there is no qemu-system-x86_64 to compare with"
"$qemu" -M help | grep -q '^microvm ' || skip "this QEMU has no machine microvm to compare with"
"$ktstr" kernel get $kernel > /dev/null
vmlinux=$("$ktstr" kernel path $kernel vmlinux)
make_initrd

host_line
if "$ktstr" probe > /dev/null; then
  echo "on the host's /dev/kvm"
  write_program "" "$vmlinux" "$here/../scenarios/basic.json" "$work/initrd.cpio"
  sh "$work/program" > "$work/out"
else
  echo "in the nested bed: $("$ktstr" probe || true)"
  run_in_bed | tr -d '\r' > "$work/out"
fi
if ! grep -q '^ktstr {' "$work/out" || grep '^microvm ' "$work/out" | grep -qv ' 0$'; then
  echo "bench-kvm: not every boot came to its end:" >&2
  cut -c1-300 "$work/out" >&2
  exit 4
fi

rival() { awk '$1 == "microvm" {print $3 - $2}' "$work/out"; }
line "Linux on KVM, 1 vCPU: the kernel to init" "" "$(phases '"kernel"' | spread s)"
line "  with the VMM's start, preparing and loading" "< rival" "$(phases '"start", "prepare", "machine", "kernel"' | spread s)"
line "  rival: QEMU microvm, from exec to the reset by init" "" "$(rival | spread s)"
line "  ratio to the rival" "< 1" \
  "$(paste -d' ' <(phases '"start", "prepare", "machine", "kernel"') <(rival) | awk '{print $1 / $2}' | spread x)"
