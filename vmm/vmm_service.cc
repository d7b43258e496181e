#include "vmm/vmm_service.h"

#include <utility>

#include "protocol/transport.h"
#include "vmm/machine_service.h"
#include "vmm/rpc_error.h"

namespace ktstr::vmm {
namespace {

class VmmServer final : public rpc::Vmm::Server {
 public:
  explicit VmmServer(VmmState& vmm) : vmm_(vmm) {}

 protected:
  kj::Promise<void> info(InfoContext context) override {
    return answering([this, context]() mutable { vmm_.engine().describe(context.getResults().initInfo()); });
  }

  kj::Promise<void> giveMemory(GiveMemoryContext context) override {
    return answering([this, context]() mutable {
      const auto params = context.getParams();
      return takeFd(params.getFd()).then([this, kind = params.getKind()](Fd fd) {
        vmm_.give(kind, std::move(fd));
      });
    });
  }

  kj::Promise<void> boot(BootContext context) override {
    return answering([this, context]() mutable {
      return vmm_.boot(context.getParams().getMachine()).then([this, context]() mutable {
        context.getResults().setMachine(machineServer(vmm_));
      });
    });
  }

 private:
  VmmState& vmm_;
};

}  // namespace

rpc::Vmm::Client vmmServer(VmmState& vmm) {
  return kj::heap<VmmServer>(vmm);
}

}  // namespace ktstr::vmm
