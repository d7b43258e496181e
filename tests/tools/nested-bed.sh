#!/bin/bash
# Runs a program on a /dev/kvm that can boot Linux, on a machine that has none: inside L1, a Linux on QEMU's TCG with
# SVM, whose kvm-amd nests.
#   nested-bed.sh [--file HOST_PATH[=GUEST_PATH]]... [--memory MIB] [--cpus N] [--timeout S] -- PROGRAM [ARGS...]
# L1's root is an initramfs of busybox, PROGRAM and each --file (a file or a directory), at their own absolute paths
# unless GUEST_PATH says otherwise, with the shared libraries they need. PROGRAM runs there as root, in /, without
# input, with HOME, PATH and the variables named KTSTR_*. Its output comes out here as it is produced, stdout and
# stderr alike on stdout; its exit code is ours. 2 with a reason on stderr: wrong usage. 4: L1 could not be brought up,
# died, or S seconds (600) passed; then the end of L1's console is shown too. 6: L1 stalled: now and then QEMU's SVM
# lets a nested guest keep the CPU for ever.
set -euo pipefail

spec=debian:7.3
modules="irqbypass kvm kvm-amd"
bring_up=120   # seconds that L1 may take to start PROGRAM; some 6 on an idle machine
stall=120      # seconds without a sign of life from L1, which gives one every 2
memory=2048
cpus=1
timeout=600
files=()
bin=${KTSTR_BIN_DIR:-$(dirname "$0")/../../build/bin}
work=""; qemu=""; reader=""

failure=4
fail() { echo "nested-bed: $*" >&2; exit $failure; }
usage() {
  echo "nested-bed: $*" >&2
  echo "usage: nested-bed.sh [--file HOST_PATH[=GUEST_PATH]]... [--memory MIB] [--cpus N] [--timeout S] -- PROGRAM [ARGS...]" >&2
  exit 2
}
number() { [[ "$2" =~ ^[1-9][0-9]{0,6}$ ]] || usage "$1 takes a number, not \"$2\""; }

stop_qemu() {
  [ -z "$qemu" ] || { kill -KILL "$qemu" && wait "$qemu"; } 2> /dev/null || true
  qemu=""
}

clean_up() {
  local code=$?
  trap '' INT TERM HUP
  stop_qemu
  [ -z "$reader" ] || kill "$reader" 2> /dev/null || true
  [ -z "$work" ] || rm -rf "$work"
  exit $code
}

# ---- the initramfs -------------------------------------------------------------------------------------------------

# The host's file or directory $1 as $2 in the guest; links inside a directory stay links.
place() {
  mkdir -p "$work/root$(dirname "$2")"
  cp -RH --preserve=mode,timestamps -T "$1" "$work/root$2" || fail "cannot pack $1"
}

# The libraries, and their loader, that the ELF file $1 asks for. A file that is not dynamically linked has none.
place_libraries() {
  local list library
  list=$(ldd "$1" 2> /dev/null) || return 0
  if grep -q 'not found' <<< "$list"; then fail "$1 needs libraries that are not here:"$'\n'"$list"; fi
  while read -r library; do
    [ -e "$work/root$library" ] || place "$library" "$library"
  done < <(grep -oE '(^[[:space:]]*|=> )/[^ ]+' <<< "$list" | sed -E 's/^(=>)?[[:space:]]*//')
}

is_elf() {
  local magic=""
  LC_ALL=C read -r -N 4 magic < "$1" || true
  [ "$magic" = $'\x7fELF' ]
}

# place, with the libraries of each ELF file in it.
place_whole() {
  local file
  [ -r "$1" ] || usage "cannot read $1"
  case "$2/" in
    /proc/* | /sys/* | /dev/*) usage "$2 cannot be packed: L1 has its own ${2:0:4}" ;;
    /*) ;;
    *) usage "$2 is no absolute path" ;;
  esac
  place "$1" "$2"
  while read -r -d '' file; do
    if is_elf "$file"; then place_libraries "$file"; fi
  done < <(find -H "$1" -type f -print0)
}

# What PROGRAM is started with.
print_start() {
  local name
  for name in $(compgen -e KTSTR_); do echo "export $name=${!name@Q}"; done
  echo "exec ${*@Q}"
}

# stdout and stderr of PROGRAM are ttyS1, our steps are ttyS2, the kernel's console is ttyS0.
print_init() {
  cat << 'END'
#!/.bed/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
busybox=/.bed/busybox
$busybox mkdir -p /proc /sys /dev /run /tmp /root /etc /mnt
$busybox mount -t proc proc /proc
$busybox --install -s /usr/bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec < /dev/null > /dev/console 2>&1
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
# Files may have been packed below /tmp.
mount -t tmpfs -o size=75%,mode=1777 tmp /mnt
cp -a /tmp/. /mnt && rm -rf /tmp/*
mount -o move /mnt /tmp
[ -e /etc/passwd ] || echo root:x:0:0:root:/root:/bin/sh > /etc/passwd
exec 3> /dev/ttyS2
stty -F /dev/ttyS2 raw -echo
stty -F /dev/ttyS1 raw -echo
finish() {
  echo "$*" >&3
  stty -F /dev/ttyS2 raw -echo   # waits until all of it is out
  reboot -f
}
[ -e /.bed/end ] || finish failed the initramfs does not fit: give L1 more --memory
for module in $(cat /.bed/modules); do
  insmod /.bed/$module.ko || finish failed insmod $module
done
[ -c /dev/kvm ] || finish failed there is no /dev/kvm in L1
echo started >&3
while sleep 2; do echo alive >&3; done &
sh /.bed/start > /dev/ttyS1 2>&1 3>&-
code=$?
kill -9 -1
stty -F /dev/ttyS1 raw -echo   # waits as well
finish exit $code
END
}

fill_root() {
  local module path directory
  mkdir -p "$work/root/.bed" "$work"/root/usr/{bin,sbin,lib,lib64}
  for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$work/root/$directory"; done
  place "$busybox" /.bed/busybox
  place_libraries "$busybox"
  for module in $modules; do
    path=$(kernel_file "$module.ko")
    place "$path" "/.bed/$module.ko"
  done
  echo "$modules" > "$work/root/.bed/modules"
  print_start "$@" > "$work/root/.bed/start"
  print_init > "$work/root/init"
  chmod 755 "$work/root/init"
}

# init's own files first, so that it can tell when something is missing; what it looks for last.
list_root() {
  find init .bed
  find . -mindepth 1 ! -path './.bed*' ! -path ./init
  touch .bed/end
  echo .bed/end
}

pack() {
  local file
  fill_root "$@"
  place_whole "$1" "$1"
  for file in ${files[@]+"${files[@]}"}; do place_whole "${file%%=*}" "${file#*=}"; done
  (cd "$work/root" && list_root | "$busybox" cpio -o -H newc -R 0:0) > "$work/initramfs" 2> "$work/cpio" \
    || fail "cannot pack the initramfs: $(cat "$work/cpio")"
  rm -rf "$work/root"
}

# ---- L1 ------------------------------------------------------------------------------------------------------------

kernel_file() { "$bin/ktstr" kernel path $spec "$1" || fail "the cached $spec has no $1"; }

start_l1() {
  local vmlinux
  vmlinux=$(kernel_file vmlinux)
  touch "$work/console" "$work/steps"
  # cat, because QEMU makes its stdout non-blocking for all who share it.
  exec 4> >(exec cat)
  reader=$!
  SECONDS=0
  # Should we be killed, QEMU is. With more than one CPU nested guests stall or triple fault at times.
  setpriv --pdeathsig KILL "${KTSTR_QEMU:-qemu-system-x86_64}" -M q35 -accel tcg,thread=multi -cpu max,+svm -smp "$cpus" \
    -m "$memory" -nodefaults -no-user-config -display none -no-reboot \
    -chardev stdio,id=output,signal=off -serial file:"$work/console" -serial chardev:output -serial file:"$work/steps" \
    -kernel "$vmlinux" -initrd "$work/initramfs" \
    -append "console=ttyS0 panic=-1 oops=panic reboot=t loglevel=5 cryptomgr.notests" \
    < /dev/null >&4 4>&- 2> "$work/qemu" &
  qemu=$!
  exec 4>&-
}

# What L1's init last said of a kind: "started", "failed REASON", "exit CODE".
step() { sed -n "s/^$1 //p" "$work/steps" | tail -n 1; }
started() { grep -q '^started$' "$work/steps"; }

# Ends with a reason, after the program's output and what else there is to see.
lost() {
  stop_qemu
  wait "$reader" || true
  [ ! -s "$work/qemu" ] || { echo "QEMU said:"; cat "$work/qemu"; } >&2
  if [ -s "$work/console" ]; then
    { echo "the end of L1's console:"; tail -n 40 "$work/console" | tr -d '\r'; } >&2
  else
    echo "L1's console is empty" >&2
  fi
  fail "$@"
}

checked=0
check_time() {
  if started; then
    if [ $SECONDS != "$checked" ]; then
      checked=$SECONDS
      if [ $(($(date +%s) - $(stat -c %Y "$work/steps"))) -gt $stall ]; then
        failure=6
        lost "L1 stalled: it gave no sign of life for $stall s while it ran $program"
      fi
    fi
    [ $SECONDS -lt "$timeout" ] || lost "timeout: $program did not end within $timeout s"
  else
    [ $SECONDS -lt "$timeout" ] && [ $SECONDS -lt $bring_up ] \
      || lost "L1 hung: it did not start $program within $SECONDS s"
  fi
}

# Follows L1 until QEMU ends, and ends with the program's exit code.
follow_l1() {
  local reason status=0 code
  while kill -0 "$qemu" 2> /dev/null; do
    check_time
    sleep 0.1
  done
  wait "$qemu" || status=$?
  qemu=""
  wait "$reader" || true
  code=$(step exit)
  [ -z "$code" ] || exit "$code"
  reason=$(step failed)
  [ -z "$reason" ] || lost "L1 could not be brought up: $reason"
  if started; then lost "L1 died while it ran $program (QEMU ended with status $status)"; fi
  lost "L1 died before it started $program (QEMU ended with status $status)"
}

# ---- the command line ----------------------------------------------------------------------------------------------

while [ $# != 0 ] && [ "$1" != -- ]; do
  [ $# -ge 2 ] || usage "what is \"$1\"?"
  case "$1" in
    --file) files+=("$(realpath -s "${2%%=*}")$([[ "$2" != *=* ]] || echo "=${2#*=}")") ;;
    --memory) number "$1" "$2"; memory=$2 ;;
    --cpus) number "$1" "$2"; cpus=$2 ;;
    --timeout) number "$1" "$2"; timeout=$2 ;;
    *) usage "what is \"$1\"?" ;;
  esac
  shift 2
done
[ $# -ge 2 ] || usage "no program given"
shift
program=$(type -P "$1") || usage "there is no program $1"
program=$(realpath -s "$program")
shift
busybox=$(type -P busybox) || fail "busybox is missing (package busybox-static)"

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
work=$(mktemp -d)
"$bin/ktstr" kernel get $spec --with-modules > /dev/null || fail "no kernel for L1"
pack "$program" "$@"
start_l1
follow_l1
