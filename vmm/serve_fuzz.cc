// Any bytes on any of the three sockets end in refusals or a disconnect: never in a crash, a hang, or a
// machine that nobody checked. The engine is a stand-in that takes every machine: what is fuzzed is all that
// is before it.
#include <kj/async-io.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cassert>

#include "protocol/transport.h"
#include "vmm/service.h"
#include "vmm/vmm.h"

namespace ktstr::vmm {
namespace {

class AnyMachine final : public Engine {
 public:
  void describe(rpc::VmmInfo::Builder info) const override { info.setAccelerator("none"); }
  kj::Promise<void> launch(const CheckedMachine& machine, const MachineMemory&, std::byte*) override {
    assert(machine.vcpus >= 1 && machine.vcpus <= kMaxVcpus && machine.apicIds.size() == machine.vcpus);
    return kj::READY_NOW;
  }
  kj::Promise<void> start() override { return kj::READY_NOW; }
  kj::Promise<uint32_t> freeze() override { return uint32_t{0}; }
  kj::Promise<void> thaw() override { return kj::READY_NOW; }
  void stop() override {}
  VcpuRegisters registers(uint32_t) override { return {}; }
  std::vector<uint64_t> vcpuTimes() override { return {}; }
  kj::Promise<void> ended() override { return kj::NEVER_DONE; }
  bool hasEnded() const override { return false; }
  const EngineEnd& end() const override { return end_; }
  Fd takeConsole() override { return makeSocketPair().first; }
  Fd takeDoorbell() override { return makeSocketPair().first; }

 private:
  EngineEnd end_;
};

}  // namespace
}  // namespace ktstr::vmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr;
  using namespace ktstr::vmm;
  if (size < 1) return 0;
  static kj::AsyncIoContext io = kj::setupAsyncIo();
  AnyMachine engine;
  VmmState vmm(io, engine);
  auto [ours, theirs] = makeSocketPair();
  // The first byte chooses the socket. What does not fit into its buffer is left out.
  (void)!send(theirs.get(), data + 1, size - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  shutdown(theirs.get(), SHUT_WR);
  const auto bootstrap = [&]() -> capnp::Capability::Client {
    switch (data[0] % 3) {
      case 0:
        return vmmServer(vmm);
      case 1:
        return observerServer(vmm);
      default:
        return publishedGateServer(vmm, "fuzz");
    }
  };
  Connection connection(*io.lowLevelProvider, std::move(ours), bootstrap());
  // An observer's call may wait for a machine that never comes.
  auto late = io.provider->getTimer().afterDelay(50 * kj::MILLISECONDS);
  connection.onDisconnect().exclusiveJoin(kj::mv(late)).wait(io.waitScope);
  return 0;
}
