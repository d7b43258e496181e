// ktstr-vmm-tcg: the Vmm interface on a QEMU child. See usage() for how to start it.
#include <kj/async-io.h>
#include <signal.h>

#include <iostream>
#include <variant>

#include "protocol/error.h"
#include "protocol/log.h"
#include "vmm/serve.h"
#include "vmm/tcg/qemu_engine.h"
#include "vmm/tcg/sandbox.h"
#include "vmm/tcg/warden.h"

namespace ktstr::vmm {
namespace {

constexpr const char* kUsage =
    "usage: ktstr-vmm-tcg --control-fd N [--observe-fd N]... [--gate-fd N]...   connected sockets it "
    "inherits\n"
    "       ktstr-vmm-tcg --dir DIR [OPTION USER]...     listens on control.sock, observe.sock, gate.sock "
    "there\n"
    "       ktstr-vmm-tcg --activated [OPTION USER]...   on the sockets of a service manager, "
    "sd_listen_fds(3)\n"
    "       ktstr-vmm-tcg --print-seccomp\n"
    "It runs one machine and ends with its (first) control connection. KTSTR_QEMU names another QEMU (>= "
    "10).\n";

std::variant<QemuProgram, Error> tryFindQemu() {
  try {
    return findQemu();
  } catch (const Error& e) {
    log::error(e.what());
    return e;
  }
}

int run(int argc, char** argv) {
  ServeOptions options = parseServeOptions(argc, argv, kUsage);
  if (options.printSeccomp) {
    for (const std::string& line : tcgSandbox(-1, {-1}).describe()) std::cout << line << '\n';
    return 0;
  }
  signal(SIGPIPE, SIG_IGN);
  // On the terminal's ^C the orchestrator decides; its connection tells us.
  if (options.control) signal(SIGINT, SIG_IGN);
  auto qemu = tryFindQemu();
  Listeners listeners = claimDirectory(options);
  const auto* program = std::get_if<QemuProgram>(&qemu);
  Fd warden = startWarden(program != nullptr ? program->path : "", listeners.files);
  listenIn(options, listeners);
  EngineChannels channels = makeEngineChannels();
  const int firmware = channels.firmware.get();
  auto io = kj::setupAsyncIo();
  QemuEngine engine(io, std::move(qemu), std::move(warden), std::move(channels));
  VmmState vmm(io, engine);
  tcgSandbox(firmware, listeners.sockets()).dropPrivileges().lockDown();
  serveConnections(io, vmm, std::move(options), std::move(listeners));
  return 0;
}

}  // namespace
}  // namespace ktstr::vmm

int main(int argc, char** argv) {
  return ktstr::vmm::vmmMain("ktstr-vmm-tcg", argc, argv, ktstr::vmm::run);
}
