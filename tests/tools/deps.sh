#!/bin/bash
# Installs what ktstr needs on Debian 12 and 13, or says what is missing.
#   deps.sh check [all]     exit 0 if everything is there; otherwise names what is missing
#   deps.sh install [all]   as root or with sudo; does nothing if nothing is missing
# all: also what no build and no check needs: the second compiler, and what `make fuzz`, `lint` and `bench` use.
set -euo pipefail

build="g++ make pkg-config capnproto libcapnp-dev libbpf-dev libelf-dev zlib1g-dev liblz4-dev libzstd-dev liblzma-dev
       libseccomp-dev libspdlog-dev libgtest-dev libgmock-dev nlohmann-json3-dev libcli11-dev libarchive-dev libssl-dev"
run="qemu-system-x86 busybox-static xz-utils ca-certificates"
schedulers="clang-22 llvm-22 gcc bison flex"   # tools/sched_ext of the kernel
tests="bpftool cmake cpio python3-drgn systemd"
extra="clang clang-format clang-tidy jq time"

. /etc/os-release
case "${VERSION_CODENAME:-}" in
  bookworm) extra="$extra libclang-rt-14-dev" ;;
  trixie) extra="$extra libclang-rt-19-dev" ;;
esac
[ "${2:-}" = all ] || extra=""

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
at_least() { dpkg --compare-versions "$(dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo 0)" ge "$2"; }

missing() {
  local package
  for package in $build $run $schedulers $tests $extra; do installed "$package" || echo "$package"; done
  installed qemu-system-x86 && { at_least qemu-system-x86 1:10 || echo qemu-system-x86; }
  installed libbpf-dev && { at_least libbpf-dev 1:1.3 || echo libbpf-dev; }
  return 0
}

packages=$(missing)
[ -z "$packages" ] && exit 0
if [ "${1:-}" != install ]; then
  echo "missing packages:" $packages >&2
  exit 1
fi

root=""
if [ "$(id -u)" != 0 ]; then
  command -v sudo > /dev/null || { echo "missing packages:" $packages "- install them as root" >&2; exit 4; }
  root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$root apt-get update -q
release=""
if [ "${VERSION_CODENAME:-}" = bookworm ]; then
  # QEMU >= 10 and libbpf >= 1.3 are in bookworm-backports, which installs nothing unless asked by name.
  if ! apt-get indextargets --format '$(CODENAME)' | grep -qx bookworm-backports; then
    uri=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' | sed -n 's/^bookworm //p' | head -n 1)
    [ -n "$uri" ] || { echo "no bookworm mirror among the apt sources; add one and run again" >&2; exit 4; }
    printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' "$uri" \
      /usr/share/keyrings/debian-archive-keyring.gpg \
      | $root tee /etc/apt/sources.list.d/ktstr-bookworm-backports.sources > /dev/null
    $root apt-get update -q
  fi
  release="-t bookworm-backports"
fi
plain=""; backport=""
for package in $packages; do
  case "$package" in
    qemu-system-x86|libbpf-dev) backport="$backport $package" ;;
    *) plain="$plain $package" ;;
  esac
done
[ -z "$plain" ] || $root apt-get install -y -q --no-install-recommends $plain
[ -z "$backport" ] || $root apt-get install -y -q --no-install-recommends $release $backport
left=$(missing)
[ -z "$left" ] || { echo "could not install:" $left >&2; exit 4; }
