#include "vmm/tcg/qemu_probe.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::vmm {
namespace {

constexpr const char* kProgram = "qemu-system-x86_64";
constexpr int kAnswerMs = 5000;
constexpr const char* kRemedy =
    "run `make deps`, or install qemu-system-x86 (on Debian 12 from bookworm-backports), or set KTSTR_QEMU";

// What `path --version` prints, at most 4 KiB, within kAnswerMs.
std::string askVersion(const std::string& path) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw errnoError("qemu-failed", "make a pipe");
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  SpawnOptions options;
  options.executable = path;
  options.arguments = {"--version"};
  options.standardOutput = writer.get();
  options.standardError = writer.get();
  Child child = spawn(options);
  writer.reset();
  std::string output;
  char buffer[512];
  pollfd readable{reader.get(), POLLIN, 0};
  while (output.size() < 4096 && poll(&readable, 1, kAnswerMs) == 1) {
    const ssize_t got = read(reader.get(), buffer, sizeof buffer);
    if (got <= 0) return output;
    output.append(buffer, static_cast<size_t>(got));
  }
  child.signal(SIGKILL);
  return output;
}

}  // namespace

std::string qemuVersion(std::string_view output) {
  constexpr std::string_view start = "QEMU emulator version ";
  if (!output.starts_with(start)) return {};
  output.remove_prefix(start.size());
  size_t length = 0;
  while (length < output.size() &&
         (isdigit(static_cast<unsigned char>(output[length])) || output[length] == '.')) {
    ++length;
  }
  return std::string(output.substr(0, length));
}

QemuProgram findQemu() {
  const char* wanted = getenv("KTSTR_QEMU");
  const std::string name = wanted != nullptr && *wanted != '\0' ? wanted : kProgram;
  const auto path = findProgram(name);
  if (!path) throw Error(ExitCode::infrastructure, "qemu-missing", name + " not found", kRemedy);
  const std::string output = askVersion(*path);
  const std::string version = qemuVersion(output);
  if (version.empty() || !isdigit(static_cast<unsigned char>(version[0]))) {
    throw Error(ExitCode::infrastructure, "qemu-failed",
                text(*path, " --version printed \"", output.substr(0, 200), "\" instead of a version"),
                kRemedy);
  }
  if (strtoul(version.c_str(), nullptr, 10) < kMinQemuMajor) {
    throw Error(
        ExitCode::infrastructure, "qemu-too-old",
        text(*path, " is version ", version, ", must be ", kMinQemuMajor,
             " or newer: older multi-threaded TCG mishandles the kernel's code patching and kills sched_ext"),
        kRemedy);
  }
  cpu_set_t cpus;
  const bool known = sched_getaffinity(0, sizeof cpus, &cpus) == 0;
  return {*path, version, known ? static_cast<uint32_t>(CPU_COUNT(&cpus)) : CPU_SETSIZE};
}

}  // namespace ktstr::vmm
