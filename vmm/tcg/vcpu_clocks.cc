#include "vmm/tcg/vcpu_clocks.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>

#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr::vmm {

std::vector<Fd> openVcpuClocks(pid_t qemu) {
  std::map<unsigned, Fd> clocks;
  std::error_code gone;
  const std::filesystem::path tasks = "/proc/" + std::to_string(qemu) + "/task";
  for (std::filesystem::directory_iterator task(tasks, gone), end; !gone && task != end;
       task.increment(gone)) {
    const std::string name = readFileIfThere(task->path() / "comm").value_or("");
    unsigned vcpu = 0;
    if (sscanf(name.c_str(), "CPU %u/TCG", &vcpu) != 1) continue;
    clocks[vcpu] = Fd(open((task->path() / "schedstat").c_str(), O_RDONLY | O_CLOEXEC));
  }
  std::vector<Fd> list;
  for (auto& [vcpu, clock] : clocks) {
    if (vcpu != list.size() || !clock) return {};
    list.push_back(std::move(clock));
  }
  return list;
}

uint64_t readVcpuClock(int clock) {
  char text[64];
  const ssize_t got = pread(clock, text, sizeof text, 0);
  uint64_t nanos = 0;
  if (got <= 0 || std::from_chars(text, text + got, nanos).ec != std::errc()) {
    throw Error(ExitCode::infrastructure, "vcpu-gone", "QEMU's vCPU thread has ended");
  }
  return nanos;
}

}  // namespace ktstr::vmm
