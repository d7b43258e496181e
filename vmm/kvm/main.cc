// ktstr-vmm: the Vmm interface on /dev/kvm, and the only program that opens it.
#include <kj/async-io.h>
#include <signal.h>

#include <iostream>
#include <variant>

#include "protocol/error.h"
#include "protocol/log.h"
#include "vmm/kvm/kvm_engine.h"
#include "vmm/kvm/sandbox.h"
#include "vmm/serve.h"

namespace ktstr::vmm {
namespace {

constexpr const char* kName = "ktstr-vmm";
constexpr const char* kAbout = "The Vmm interface on /dev/kvm: the only program of ktstr that opens it.";

int printSeccomp() {
  const auto print = [](const char* role, const Sandbox& sandbox) {
    std::cout << "# " << role << ": " << sandbox.syscallCount() << " syscalls\n";
    for (const std::string& line : sandbox.describe()) std::cout << line << '\n';
  };
  print("setting up", setUpSandbox({-1}, {-1}));
  print("serving", servingSandbox({-1}));
  print("vCPU thread", vcpuSandbox(-1, {-1, -1}, {-1, -1, -1}, -1));
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
  ServeOptions options = parseServeOptions(kName, kAbout, argc, argv);
  if (options.printSeccomp) return printSeccomp();
  signal(SIGPIPE, SIG_IGN);
  // On the terminal's ^C the orchestrator decides; its connection tells us.
  if (options.control) signal(SIGINT, SIG_IGN);
  auto kvm = tryOpenKvm();
  std::vector<int> vms;
  if (const Kvm* ready = std::get_if<Kvm>(&kvm)) vms = {ready->vm.get(), ready->wideVm.get()};
  Listeners listeners = takeListeners(options);
  auto io = kj::setupAsyncIo();
  const std::vector<int> sockets = listeners.sockets();
  KvmEngine engine(io, std::move(kvm), makeKvmChannels(), [&sockets] { servingSandbox(sockets).lockDown(); });
  VmmState vmm(io, engine);
  prepareThreads();
  setUpSandbox(sockets, vms).dropPrivileges().lockDown();
  serveConnections(io, vmm, std::move(options), std::move(listeners));
  return 0;
}

}  // namespace
}  // namespace ktstr::vmm

int main(int argc, char** argv) {
  return ktstr::vmm::vmmMain(ktstr::vmm::kName, argc, argv, ktstr::vmm::run);
}
