// For tests: a running VMM and the client ends of its sockets.
#pragma once

#include <kj/async-io.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "protocol/call_error.h"
#include "protocol/machine.capnp.h"
#include "protocol/process.h"
#include "protocol/transport.h"
#include "vmm/test_machine.h"

namespace ktstr::vmm {

class TestClient {
 public:
  // Starts `program` on socket pairs, with `environment` added to ours.
  explicit TestClient(const char* program = "ktstr-vmm-tcg", std::vector<std::string> environment = {});
  // Of a VMM that runs already, on sockets connected to it; those that are none are left out.
  TestClient(Child child, Fd control, Fd observe, Fd gate);

  rpc::Vmm::Client vmm() { return control_->bootstrap().castAs<rpc::Vmm>(); }
  rpc::Observer::Client observer() { return observe_->bootstrap().castAs<rpc::Observer>(); }
  rpc::WriteGate::Client gate() { return gate_->bootstrap().castAs<rpc::WriteGate>(); }
  Child& process() { return child_; }
  kj::AsyncIoContext& io() { return io_; }
  void disconnect() { control_.reset(); }

  void give(rpc::MemoryKind kind, const Fd& fd);
  void giveMemory(const TestMachine& machine);
  // Gives the test machine's memory; what is left is to send the request.
  capnp::Request<rpc::Vmm::BootParams, rpc::Vmm::BootResults> bootRequest(const TestMachine& machine);
  // Boots it; fails as Error.
  rpc::Machine::Client boot(const TestMachine& machine);

  // Takes the doorbell of a machine; ring() sends bytes and expect() waits for one in turn.
  void takeDoorbell(rpc::Machine::Client machine);
  void ring(std::string_view bytes);
  char hear();  // the next byte from the guest; throws after 10 s of silence

  // Waits for a call; its failure becomes an Error.
  template <typename T>
  auto wait(kj::Promise<T>&& promise) -> decltype(promise.wait(std::declval<kj::WaitScope&>())) {
    auto bounded = io_.provider->getTimer().timeoutAfter(40 * kj::SECONDS, kj::mv(promise));
    try {
      return bounded.wait(io_.waitScope);
    } catch (const kj::Exception& e) {
      rethrowAsError(e);
    }
  }

 private:
  void connect(Fd control, Fd observe, Fd gate);

  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  Child child_;
  std::unique_ptr<Connection> control_, observe_, gate_;
  Fd doorbell_;
};

// `ktstr serve` with the accelerator of `program` on the sockets of `directory`.
SpawnOptions serving(const std::string& program, const std::string& directory);

// What `ktstr-orchestrator probe` says: why no guest at all can run on this /dev/kvm, or ""; whether Linux
// can.
std::string whyNoKvm();
bool kvmRunsLinux();

// The descriptor a call answered with.
Fd descriptorOf(TestClient& client, rpc::Fd::Client fd);

// Children of `parent` and theirs that still exist, by /proc.
std::vector<pid_t> descendants(pid_t parent);
bool exists(pid_t pid);  // and is no zombie
// Waits until `condition` holds, at most `milliseconds`; false if it never did.
bool eventually(int milliseconds, const std::function<bool()>& condition);

}  // namespace ktstr::vmm
