// ktstr-vmm --probe: one line of JSON about /dev/kvm; exit code 0 if Linux can run on it, 5 if not.
#include <unistd.h>

#include <iomanip>
#include <iostream>
#include <sstream>
#include <string_view>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/log.h"
#include "vmm/kvm/probe.h"

int main(int argc, char** argv) {
  using namespace ktstr;
  log::start("ktstr-vmm");
  try {
    const std::string_view option = argc == 2 ? argv[1] : "";
    if (option == "--print-seccomp") {
      for (const std::string& line : vmm::kvmProbeSandbox().describe()) std::cout << line << '\n';
      return 0;
    }
    if (option != "--probe") throw Error(ExitCode::usage, "usage", "ktstr-vmm --probe | --print-seccomp");
    vmm::KvmProbe probe;
    vmm::kvmProbeSandbox().lockDown();
    const vmm::KvmVerdict verdict = probe.run();
    std::ostringstream line;
    line << "{\"kvm\":\"" << vmm::kvmKindName(verdict.kind) << "\",\"detail\":" << std::quoted(verdict.detail)
         << "}\n";
    writeAll(STDOUT_FILENO, line.str());
    return static_cast<int>(verdict.kind == vmm::KvmKind::hardware ? ExitCode::pass : ExitCode::skipped);
  } catch (const Error& e) {
    log::error(e.what());
    return static_cast<int>(e.code());
  }
}
