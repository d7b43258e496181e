// ktstr-vmm: the Vmm interface on /dev/kvm, and the only program that opens it. See usage() for how to start
// it.
#include <kj/async-io.h>
#include <signal.h>
#include <unistd.h>

#include <iomanip>
#include <iostream>
#include <sstream>
#include <variant>

#include "protocol/error.h"
#include "protocol/log.h"
#include "vmm/kvm/kvm_engine.h"
#include "vmm/kvm/probe.h"
#include "vmm/kvm/sandbox.h"
#include "vmm/serve.h"

namespace ktstr::vmm {
namespace {

constexpr const char* kUsage =
    "usage: ktstr-vmm --control-fd N [--observe-fd N]... [--gate-fd N]...   connected sockets it inherits\n"
    "       ktstr-vmm --dir DIR [OPTION USER]...       listens on control.sock, observe.sock, gate.sock "
    "there\n"
    "       ktstr-vmm --activated [OPTION USER]...     on the sockets of a service manager, "
    "sd_listen_fds(3)\n"
    "       ktstr-vmm --probe                          one line of JSON: what /dev/kvm is good for\n"
    "       ktstr-vmm --print-seccomp                  the filters, by role\n"
    "It runs one machine and ends with its (first) control connection.\n";

int probe() {
  KvmProbe probe;
  kvmProbeSandbox().dropPrivileges().lockDown();
  const KvmVerdict verdict = probe.run();
  std::ostringstream line;
  line << "{\"kvm\":\"" << kvmKindName(verdict.kind) << "\",\"detail\":" << std::quoted(verdict.detail)
       << "}\n";
  writeAll(STDOUT_FILENO, line.str());
  return static_cast<int>(verdict.kind == KvmKind::hardware ? ExitCode::pass : ExitCode::skipped);
}

int printSeccomp() {
  const auto print = [](const char* role, const Sandbox& sandbox) {
    std::cout << "# " << role << ": " << sandbox.syscallCount() << " syscalls\n";
    for (const std::string& line : sandbox.describe()) std::cout << line << '\n';
  };
  print("setting up", setUpSandbox({-1}));
  print("serving", servingSandbox({-1}));
  print("vCPU thread", vcpuSandbox(-1, {-1, -1, -1, -1, -1}));
  print("probing", kvmProbeSandbox());
  return 0;
}

std::variant<Kvm, Error> tryOpenKvm() {
  try {
    return Kvm::open();
  } catch (const Error& e) {
    log::error(e.what());
    return e;
  }
}

int run(int argc, char** argv) {
  ServeOptions options = parseServeOptions(argc, argv, kUsage);
  if (options.printSeccomp) return printSeccomp();
  if (options.probe) return probe();
  signal(SIGPIPE, SIG_IGN);
  // On the terminal's ^C the orchestrator decides; its connection tells us.
  if (options.control) signal(SIGINT, SIG_IGN);
  auto kvm = tryOpenKvm();
  Listeners listeners = claimDirectory(options);
  listenIn(options, listeners);
  auto io = kj::setupAsyncIo();
  const std::vector<int> sockets = listeners.sockets();
  KvmEngine engine(io, std::move(kvm), makeKvmChannels(), [&sockets] { servingSandbox(sockets).lockDown(); });
  VmmState vmm(io, engine);
  prepareThreads();
  setUpSandbox(sockets).dropPrivileges().lockDown();
  serveConnections(io, vmm, std::move(options), std::move(listeners));
  return 0;
}

}  // namespace
}  // namespace ktstr::vmm

int main(int argc, char** argv) {
  return ktstr::vmm::vmmMain("ktstr-vmm", argc, argv, ktstr::vmm::run);
}
