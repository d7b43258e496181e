#include "tests/system/guest_shell.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <stdexcept>

#include "guest/boot/machine.h"
#include "guest/image/cpio.h"
#include "guest/image/elf_closure.h"
#include "guest/image/initramfs.h"
#include "guest/image/lz4_legacy.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/socket.h"
#include "protocol/text.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

// Not `read`: busybox's forgets what it has of a line when a child ends in its midst.
constexpr std::string_view init = R"sh(#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /cg
exec < /dev/console
stty -echo -icanon
echo shell is ready
while line=$(head -n 1); do eval "$line"; done
)sh";

struct Base {
  Fd file;
  uint64_t length;
};

void addDirectories(CpioWriter& archive, const std::filesystem::path& path,
                    std::set<std::filesystem::path>& there) {
  if (there.contains(path)) return;
  addDirectories(archive, path.parent_path(), there);
  archive.directory(path.string(), 0755);
  there.insert(path);
}

Base makeBase(const std::map<std::string, std::string>& programs) {
  CpioWriter archive;
  for (const char* directory : {"/bin", "/cg", "/dev", "/proc", "/sys", "/tmp"})
    archive.directory(directory, 0755);
  archive.characterDevice("/dev/console", 0600, 5, 1);
  const auto add = [&](const std::string& path, std::string_view content) {
    archive.file(path, 0755, std::as_bytes(std::span(content)));
  };
  add("/bin/busybox", readFile(findProgram("busybox").value()));
  ElfClosure libraries;
  for (const auto& [name, host] : programs) {
    add("/bin/" + name, readFile(host));
    libraries.add(host, "/bin/" + name);
  }
  std::set<std::filesystem::path> directories = {"/", "/bin"};
  for (const ClosureFile& file : libraries.files()) {
    addDirectories(archive, std::filesystem::path(file.guestPath).parent_path(), directories);
    if (file.hostPath.empty()) {
      archive.symlink(file.guestPath, file.linkTarget);
    } else {
      add(file.guestPath, readFile(file.hostPath));
    }
  }
  add("/init", init);
  const std::vector<std::byte> packed = compressLz4Legacy(archive.finish());
  constexpr uint64_t unit = 65536;
  const Fd writable = makeMemfd("base", (packed.size() + unit - 1) / unit * unit);
  if (pwrite(writable.get(), packed.data(), packed.size(), 0) != static_cast<ssize_t>(packed.size()))
    throw errnoError("write-failed", "fill the image");
  return {openFile(text("/proc/self/fd/", writable.get()), O_RDONLY), packed.size()};
}

}  // namespace

GuestShell::GuestShell(const GuestShellRequest& wanted) {
  Fd observe;
  if (wanted.sockets.empty()) {
    machine_ = std::make_unique<MachineLink>(*io_.lowLevelProvider, toolPath("ktstr-vmm-tcg"), observe);
  } else {
    machine_ =
        std::make_unique<MachineLink>(*io_.lowLevelProvider, connectUnix(wanted.sockets + "/control.sock"));
    observe = connectUnix(wanted.sockets + "/observe.sock");
  }
  Base base = makeBase(wanted.programs);
  base_ = std::move(base.file);
  std::string path = ktstr({"kernel", "path", wanted.kernel, "vmlinux"}).out;
  const Fd vmlinux = openFile(path.substr(0, path.find('\n')), O_RDONLY);
  BootRequest request;
  request.topology = parseTopology(wanted.topology);
  request.memoryBytes = uint64_t{512} << 20;
  request.kernelFd = vmlinux.get();
  request.baseFd = base_.get();
  request.baseLength = base.length;
  const std::vector<std::byte> suffix = makeSuffix("shell");
  request.suffix = suffix;
  const PreparedRam prepared = prepareMachine(request);
  machine_->boot(prepared, base_.get()).wait(io_.waitScope);
  console_ = machine_->console().wait(io_.waitScope);
  machine_->start().wait(io_.waitScope);
  connection_ = std::make_unique<Connection>(*io_.lowLevelProvider, std::move(observe), nullptr);
  observer_ = std::make_unique<rpc::Observer::Client>(connection_->bootstrap().castAs<rpc::Observer>());
  auto memory = observer_->memoryRequest().send().wait(io_.waitScope);
  std::vector<RamRange> ranges;
  for (const auto region : memory.getRegions())
    ranges.push_back({region.getGpa(), region.getSize(), region.getOffset()});
  ramFd_ = takeFd(memory.getFd()).wait(io_.waitScope);
  ram_ = std::make_unique<RamFile>(ramFd_.duplicate(), std::move(ranges));
  if (!readUntil("shell is ready", wanted.bootSeconds)) throw std::runtime_error("no shell: " + all_);
}

GuestShell::~GuestShell() = default;

bool GuestShell::readUntil(const std::string& mark, int seconds) {
  const uint64_t end = monotonicNs() + static_cast<uint64_t>(seconds) * 1'000'000'000;
  while (all_.find(mark, consumed_) == std::string::npos) {
    const uint64_t now = monotonicNs();
    pollfd readable{console_.get(), POLLIN, 0};
    if (now >= end || poll(&readable, 1, static_cast<int>((end - now) / 1'000'000) + 1) <= 0) return false;
    char buffer[4096];
    const ssize_t got = ::read(console_.get(), buffer, sizeof buffer);
    if (got <= 0) return false;
    std::copy_if(buffer, buffer + got, std::back_inserter(all_), [](char c) { return c != '\r'; });
  }
  return true;
}

std::string GuestShell::run(const std::string& command, int seconds) {
  const std::string begin = text("<<", ++commands_, "\n"), end = text(">>", commands_, "\n");
  writeAll(console_.get(), text("echo '<<'", commands_, "; ", command, "; echo '>>'", commands_, "\n"));
  if (!readUntil(end, seconds)) throw std::runtime_error("no answer to " + command + ": " + all_);
  const size_t from = all_.find(begin, consumed_), to = all_.find(end, consumed_);
  if (from == std::string::npos || from > to) throw std::runtime_error("garbled answer: " + all_);
  consumed_ = to + end.size();
  return all_.substr(from + begin.size(), to - from - begin.size());
}

}  // namespace ktstr::testing
