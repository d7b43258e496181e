#include "orchestrator/host.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "protocol/file.h"

namespace ktstr {
namespace {

// The value after "NAME ... :" in a /proc file.
std::string procField(const std::string& content, const std::string& name) {
  std::istringstream lines(content);
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(':');
    if (line.rfind(name, 0) != 0 || colon == std::string::npos) continue;
    const auto start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return {};
}

}  // namespace

void readHostFacts(rpc::HostFacts::Builder facts) {
  utsname names{};
  if (uname(&names) == 0) facts.setKernel(std::string(names.release));
  facts.setCpuModel(procField(readFileIfThere("/proc/cpuinfo").value_or(""), "model name"));
  facts.setCpus(static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN)));
  facts.setMemTotalKib(
      strtoull(procField(readFileIfThere("/proc/meminfo").value_or(""), "MemTotal").c_str(), nullptr, 10));
  facts.setLoadAverage(strtod(readFileIfThere("/proc/loadavg").value_or("0").c_str(), nullptr));
}

}  // namespace ktstr
