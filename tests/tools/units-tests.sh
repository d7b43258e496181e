#!/bin/bash
# A test program like those in build/test, for run-tests.sh: the installed units under a real systemd, on a /dev/kvm that
# boots Linux. In an L1 of the nested bed systemd is the first process of a namespace of its own; README's commands start
# the sockets there, and three users run a test twice. KTSTR_BIN_DIR names the programs.
# With KTSTR_NEED_KVM=1 it fails where that cannot be had, instead of skipping.
#   units-tests.sh [--gtest_color=no] [--gtest_filter=NAME]
set -euo pipefail

test=Units.SystemdStartsAVmmForEachMachine
build=$(cd "$KTSTR_BIN_DIR/.." && pwd)
here=$(cd "$(dirname "$0")" && pwd)
ktstr=$KTSTR_BIN_DIR/ktstr
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '[==========] Running 1 test from 1 test suite.\n[ RUN      ] %s\n' "$test"

ended() { printf '%s %s (%d ms)\n' "$1" "$test" $((SECONDS * 1000)); exit "$2"; }
skip() {
  echo "$*"
  [ -z "${KTSTR_NEED_KVM:-}" ] || ended '[  FAILED  ]' 1
  ended '[  SKIPPED ]' 0
}

systemd=/usr/lib/systemd
for program in $systemd/systemd $systemd/systemd-journald /usr/bin/systemctl /usr/bin/systemd-sysusers \
  /usr/bin/journalctl /usr/bin/setpriv /usr/bin/unshare /bin/bash; do
  [ -x "$program" ] || skip "there is no $program (packages systemd and util-linux)"
  packed+=(--file "$program")
done
[ ! -x $systemd/systemd-executor ] || packed+=(--file $systemd/systemd-executor)   # since systemd 255
for kernel in "debian:7.3 --with-modules" debian:7.3; do
  # shellcheck disable=SC2086
  "$ktstr" kernel get $kernel > /dev/null 2> "$work/why" || skip "no kernel: $(tail -n 1 "$work/why")"
done
simple=$("$ktstr" scheduler path scx_simple --kernel debian:7.3 2> "$work/why") ||
  skip "no scheduler: $(tail -n 1 "$work/why")"

# systemd's own units, as few as reach basic.target; the bed's init has mounted what others would.
units=$work/units
mkdir "$units"
for unit in basic sysinit sockets timers paths slices shutdown local-fs swap; do
  cp "$systemd/system/$unit.target" "$units/"
done
cp "$systemd"/system/systemd-journald{.service,.socket,-dev-log.socket} "$units/"
mkdir "$units/sockets.target.wants"
ln -s ../systemd-journald.socket ../systemd-journald-dev-log.socket "$units/sockets.target.wants/"
cat > "$units/proof.service" << 'UNIT'
[Unit]
Requires=basic.target systemd-journald.service
After=basic.target systemd-journald.service
[Service]
ExecStart=/bin/bash /proof.sh
StandardOutput=file:/dev/ttyS1
StandardError=inherit
UNIT

# The commands of README.md with a heading line $1: the block indented by four that follows it.
commands() { awk -v head="$1" '/^    / && on { print substr($0, 5); said = 1 } !/^    / && said { exit }
                              index($0, head) == 1 { on = 1 }' "$here/../../README.md"; }
commands "With systemd, as root" | grep -v '^make install' > "$work/start"
commands "With those sockets" |
  sed 's/--reuid 61002 --regid 61002/--reuid ktstr-monitor --regid ktstr-monitor/
       s/--reuid 61001 --regid 61001/--reuid ktstr-orchestrator --regid ktstr-orchestrator/
       s|demo.json|/basic.json --scheduler /scx_simple|' > "$work/run"
grep -q '^systemctl start' "$work/start" && grep -q -- '--reuid ktstr-monitor' "$work/run" ||
  { echo "README.md has other commands now"; ended '[  FAILED  ]' 1; }

cat > "$work/proof.sh" << 'PROOF'
exec 2>&1
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
export KTSTR_CACHE_DIR=/ktstr-cache KTSTR_STATE_DIR=/tmp/state
failed=0
expect() {   # WHAT WANTED GOT
  [ "$2" = "$3" ] && return
  echo "$1: expected \"$2\", not \"$3\""
  failed=1
}
as() { user=$1; shift; setpriv --reuid "$user" --regid "$user" --init-groups "$@"; }

. /start || failed=1
chgrp kvm /dev/kvm && chmod 660 /dev/kvm    # udev's part
mkdir /tmp/state && chown -R ktstr-orchestrator /tmp/state /ktstr-cache
for socket in control observe gate; do
  expect "the state of $socket" active "$(systemctl is-active ktstr-vmm-$socket@ci.socket)"
done
expect "the sockets" "600 ktstr-orchestrator ktstr-orchestrator control.sock
600 ktstr-orchestrator ktstr-orchestrator gate.sock
660 ktstr-orchestrator ktstr-monitor observe.sock" \
  "$(cd /run/ktstr-vmm/ci && stat -c '%a %U %G %n' control.sock gate.sock observe.sock)"
expect "the service before anybody comes" inactive "$(systemctl is-active ktstr-vmm@ci)"

first="" machines=0
for machine in first second; do
  for _ in 1 2 3; do
    sh /run.sh 2>&1 | cat    # a terminal would be shown progress
    code=${PIPESTATUS[0]} machines=$((machines + 1))
    [ "$code" = 3 ] || break    # inconclusive: an emulated host starves its guests now and then
  done
  expect "the exit code of the $machine machine" 0 "$code"
  # It ends with its machine, and the next connection starts the next.
  for _ in $(seq 100); do systemctl -q is-active ktstr-vmm@ci || break; sleep 0.1; done
  expect "the service after the $machine machine" inactive "$(systemctl is-active ktstr-vmm@ci)"
  expect "its result" "Result=success" "$(systemctl show -p Result ktstr-vmm@ci)"
  now=$(systemctl show -p ExecMainPID --value ktstr-vmm@ci)
  expect "another process" "" "$([ "$now" != "$first" ] || echo "$now again")"
  first=$now
done
expect "what failed" "" "$(systemctl list-units --failed --plain --no-legend)"

for user in ktstr-orchestrator ktstr-monitor; do
  expect "$user at /dev/kvm" "sh: can't open /dev/kvm: Permission denied" "$(as $user sh -c ': < /dev/kvm' 2>&1 |
    sed 's/^.*sh: .*open /sh: can'"'"'t open /')"
done
for socket in control gate; do
  expect "ktstr-monitor at $socket.sock" "Permission denied" "$(as ktstr-monitor ktstr-monitor --vm \
    /run/ktstr-vmm/ci/$socket.sock --count 1 2>&1 | grep -o 'Permission denied' | head -n 1)"
done
journal=$(journalctl -u ktstr-vmm@ci -o cat --no-pager)
expect "ends of machines in the journal" $machines "$(grep -c 'the machine has ended' <<< "$journal")"
[ $failed = 0 ] || { systemctl status --no-pager --full 'ktstr-vmm*'; echo "$journal"; }
echo $failed > /tmp/ended
PROOF

cat > "$work/inside" << 'INSIDE'
#!/bin/sh
mount -t tmpfs -o mode=755 run /run
echo root:x:0:root > /etc/group
echo uninitialized > /etc/machine-id
chmod 755 / /tmp
container=bed unshare --pid --fork --kill-child --mount-proc /usr/lib/systemd/systemd --system --unit=proof.service \
  --log-target=console --show-status=no &
for _ in $(seq 240); do [ -s /tmp/ended ] && break; sleep 1; done
kill -9 $!
[ -s /tmp/ended ] || { echo "the proof did not end"; exit 1; }
exit "$(cat /tmp/ended)"
INSIDE

# What `make install` installs, and what the users find in a cache of their own.
make -s -C "$here/../.." BUILD="$build" DESTDIR="$work/installed" PREFIX=/usr/local install-built
mkdir -p "$work/cache/entries/kernel"
entry=$(dirname "$("$ktstr" kernel path debian:7.3)")
cp -r "$entry" "$work/cache/entries/kernel/"
cp -r "${entry%/entries/*}/aliases" "$work/cache/"
for _ in 1 2 3; do
  status=0
  "$here/nested-bed.sh" --memory 3072 --timeout 600 "${packed[@]}" --file "$units=$systemd/system" \
    --file "$work/installed/usr/local=/usr/local" --file "$work/cache=/ktstr-cache" --file "$simple=/scx_simple" \
    --file "$here/../scenarios/basic.json=/basic.json" --file "$(type -P busybox)" --file "$work/start=/start" \
    --file "$work/run=/run.sh" --file "$work/proof.sh=/proof.sh" --file "$work/inside=/inside" -- /bin/sh /inside ||
    status=$?
  [ $status = 4 ] || [ $status = 6 ] || break    # L1 itself hung or stalled, as it does now and then
done
[ $status = 0 ] || ended '[  FAILED  ]' 1
ended '[       OK ]' 0
