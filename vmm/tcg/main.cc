// ktstr-vmm-tcg: the Vmm interface on a QEMU child.
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

constexpr const char* kName = "ktstr-vmm-tcg";
constexpr const char* kAbout =
    "The Vmm interface on a child of QEMU (>= 10; KTSTR_QEMU names another than the one of PATH).";

std::variant<QemuProgram, Error> tryFindQemu() {
  try {
    return findQemu();
  } catch (const Error& e) {
    log::error(e.what());
    return e;
  }
}

int run(int argc, char** argv) {
  ServeOptions options = parseServeOptions(kName, kAbout, argc, argv);
  if (options.printSeccomp) {
    for (const std::string& line : tcgSandbox(-1, {-1}).describe()) std::cout << line << '\n';
    return 0;
  }
  signal(SIGPIPE, SIG_IGN);
  // On the terminal's ^C the orchestrator decides; its connection tells us.
  if (options.control) signal(SIGINT, SIG_IGN);
  auto qemu = tryFindQemu();
  Listeners listeners = takeListeners(options);
  const auto* program = std::get_if<QemuProgram>(&qemu);
  Fd warden = startWarden(program != nullptr ? program->path : "");
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
  return ktstr::vmm::vmmMain(ktstr::vmm::kName, argc, argv, ktstr::vmm::run);
}
