#include "tests/system/frozen_linux.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <optional>

#include "guest/boot/machine.h"
#include "guest/image/cpio.h"
#include "guest/image/initramfs.h"
#include "guest/image/lz4_legacy.h"
#include "orchestrator/machine_link.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"
#include "tests/system/core_expectations.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::Not;

constexpr std::string_view init = R"sh(#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
ticks=0
while :; do
  read -r uptime rest < /proc/uptime
  echo "tick $ticks at $uptime"
  ticks=$((ticks + 1))
  /bin/busybox usleep 50000
done
)sh";

struct Base {
  Fd file;
  uint64_t length;
};

Base makeBase() {
  CpioWriter archive;
  for (const char* directory : {"/bin", "/dev", "/proc"}) archive.directory(directory, 0755);
  archive.characterDevice("/dev/console", 0600, 5, 1);
  const std::string busybox = readFile(findProgram("busybox").value());
  archive.file("/bin/busybox", 0755, std::as_bytes(std::span(busybox)));
  archive.file("/init", 0755, std::as_bytes(std::span(init)));
  const std::vector<std::byte> packed = compressLz4Legacy(archive.finish());
  constexpr uint64_t unit = 65536;
  const Fd writable = makeMemfd("base", (packed.size() + unit - 1) / unit * unit);
  if (pwrite(writable.get(), packed.data(), packed.size(), 0) != static_cast<ssize_t>(packed.size())) {
    throw errnoError("write-failed", "fill the image");
  }
  return {openFile(text("/proc/self/fd/", writable.get()), O_RDONLY), packed.size()};
}

// The guest's console, as far as it has been read.
class Console {
 public:
  explicit Console(Fd stream) : stream_(std::move(stream)) {}

  // Reads for that long, or until `count` ticks were read in all.
  void read(int milliseconds, std::optional<size_t> count = {}) {
    const uint64_t end = monotonicNs() + static_cast<uint64_t>(milliseconds) * 1'000'000;
    while (!count || ticks() < *count) {
      const uint64_t now = monotonicNs();
      pollfd readable{stream_.get(), POLLIN, 0};
      if (now >= end || poll(&readable, 1, static_cast<int>((end - now) / 1'000'000) + 1) <= 0) return;
      char buffer[4096];
      const ssize_t got = ::read(stream_.get(), buffer, sizeof buffer);
      if (got <= 0) return;
      all_.append(buffer, static_cast<size_t>(got));
    }
  }
  size_t ticks() const {
    size_t count = 0;
    for (size_t at = 0; (at = all_.find("\ntick ", at)) != std::string::npos; ++at) ++count;
    return count;
  }
  const std::string& all() const { return all_; }

 private:
  Fd stream_;
  std::string all_;
};

// Of either vCPU, wherever it was stopped: its system calls enter the kernel's half of the address space.
void expectRegistersOfLinux(kj::AsyncIoContext& io, rpc::Observer::Client& observer) {
  for (const uint32_t vcpu : {0u, 1u}) {
    auto request = observer.registersRequest();
    request.setVcpu(vcpu);
    const auto answer = request.send().wait(io.waitScope);
    const auto registers = answer.getRegisters();
    EXPECT_GE(registers.getLstar(), 0xffffffff80000000) << "vCPU " << vcpu;
    EXPECT_GT(registers.getCr3() >> 12, 0u) << "vCPU " << vcpu;
    EXPECT_GT(registers.getRip(), 0u) << "vCPU " << vcpu;
  }
}

// After the second that it has, all of which the guest stood still.
void expectLeaseToEndByItself(kj::AsyncIoContext& io, rpc::Observer::Client& observer, Console& console) {
  const uint64_t begin = monotonicNs();
  const auto lease = observer.freezeLeaseRequest().send().wait(io.waitScope);
  console.read(100);  // what was under way
  const size_t before = console.ticks();
  console.read(10'000, before + 1);
  EXPECT_GE(monotonicNs() - begin, 900'000'000u);
  console.read(10'000, before + 2);
  EXPECT_GE(console.ticks(), before + 2) << console.all();
}

}  // namespace

void expectFrozenLinuxGoesOn(const std::string& vmm, const std::string& kernel) {
  auto io = kj::setupAsyncIo();
  Fd observe;
  MachineLink machine(*io.lowLevelProvider, toolPath(vmm), observe);
  const auto info = machine.info().wait(io.waitScope);
  const Base base = makeBase();
  std::string path = ktstr({"kernel", "path", kernel, "vmlinux"}).out;
  path = path.substr(0, path.find('\n'));
  const Fd vmlinux = openFile(path, O_RDONLY);
  BootRequest request;
  request.topology = parseTopology("1n1l2c1t");
  request.memoryBytes = uint64_t{512} << 20;
  request.kernelFd = vmlinux.get();
  request.baseFd = base.file.get();
  request.baseLength = base.length;
  const std::vector<std::byte> suffix = makeSuffix("frozen");
  request.suffix = suffix;
  request.kvmCpuid = offeredCpuid(info);
  request.extraCommandLine = "watchdog_thresh=2";  // soft lockups after twice that
  const PreparedRam prepared = prepareMachine(request);
  machine.boot(prepared, base.file.get()).wait(io.waitScope);
  Console console(machine.console().wait(io.waitScope));
  machine.start().wait(io.waitScope);
  console.read(180'000, 5);
  ASSERT_GE(console.ticks(), 5u) << console.all();

  Connection connection(*io.lowLevelProvider, std::move(observe), nullptr);
  auto observer = connection.bootstrap().castAs<rpc::Observer>();
  const auto ask = [&] { return observer.freezeLeaseRequest().send().wait(io.waitScope).getLease(); };
  auto& timer = io.provider->getTimer();
  for (int again = 0; again < 2; ++again) {
    auto lease = ask();
    console.read(100);  // what was under way
    const size_t before = console.ticks();
    console.read(700);
    EXPECT_EQ(console.ticks(), before) << console.all();
    if (vmm == "ktstr-vmm") expectRegistersOfLinux(io, observer);
    lease = rpc::FreezeLease::Client(nullptr);
    timer.afterDelay(100 * kj::MILLISECONDS).wait(io.waitScope);
  }
  expectLeaseToEndByItself(io, observer, console);
  // Longer than any watchdog waits: lease after lease, each taken before the one before ends.
  auto lease = ask();
  console.read(100);
  for (int renewals = 0; renewals < 24; ++renewals) {
    timer.afterDelay(250 * kj::MILLISECONDS).wait(io.waitScope);
    lease = ask();
  }
  lease = rpc::FreezeLease::Client(nullptr);
  const size_t thawed = console.ticks();
  console.read(60'000, thawed + 20);
  EXPECT_GE(console.ticks(), thawed + 20) << console.all();
  expectCoreToListTheTasks(io, observer);
  EXPECT_THAT(console.all(), Not(ContainsRegex("lockup|stall|hung|BUG|unstable|NMI")));
}

}  // namespace ktstr::testing
