#include "vmm/vmm_service.h"

#include <capnp/capability.h>

#include <utility>

#include "protocol/text.h"
#include "protocol/transport.h"
#include "vmm/machine_service.h"
#include "vmm/rpc_error.h"

namespace ktstr::vmm {
namespace {

class MemoryServer final : public rpc::Memory::Server {
 public:
  MemoryServer(Fd fd, VmmState& vmm) : fd_(std::move(fd)), vmm_(vmm) { ++vmm_.imports; }
  ~MemoryServer() noexcept(false) { --vmm_.imports; }
  const Fd& fd() const { return fd_; }

 private:
  Fd fd_;
  VmmState& vmm_;
};

class VmmServer final : public rpc::Vmm::Server {
 public:
  explicit VmmServer(VmmState& vmm) : vmm_(vmm) {}

 protected:
  kj::Promise<void> info(InfoContext context) override {
    return answering([this, context]() mutable { vmm_.engine().describe(context.getResults().initInfo()); });
  }

  kj::Promise<void> importMemory(ImportMemoryContext context) override {
    return answering([this, context]() mutable {
      if (vmm_.imports >= kMaxImports) {
        throw Error(ExitCode::infrastructure, "too-many-imports",
                    text("at most ", kMaxImports, " memory objects"));
      }
      return takeFd(context.getParams().getFd()).then([this, context](Fd fd) mutable {
        memoryFacts(fd.get());
        context.getResults().setMemory(memories_.add(kj::heap<MemoryServer>(std::move(fd), vmm_)));
      });
    });
  }

  kj::Promise<void> boot(BootContext context) override {
    return answering([this, context]() mutable {
      const auto regions = context.getParams().getMachine().getRegions();
      if (regions.size() > kMaxRegions) {
        throw Error(ExitCode::infrastructure, "machine-invalid",
                    text("regions' number is ", regions.size(), ", must be at most ", kMaxRegions));
      }
      auto lookups = kj::heapArrayBuilder<kj::Promise<const Fd*>>(regions.size());
      for (const auto region : regions) lookups.add(lookUp(region.getMemory()));
      return kj::joinPromises(lookups.finish())
          .then([this, context](kj::Array<const Fd*> memories) mutable {
            return vmm_.boot(context.getParams().getMachine(), {memories.begin(), memories.end()});
          })
          .then([this, context]() mutable { context.getResults().setMachine(machineServer(vmm_)); });
    });
  }

 private:
  // The descriptor behind a Memory of ours; the message it came with keeps it alive.
  kj::Promise<const Fd*> lookUp(rpc::Memory::Client memory) {
    auto held = kj::heap(kj::mv(memory));
    auto found = memories_.getLocalServer(*held);
    return found.attach(kj::mv(held)).then([](kj::Maybe<rpc::Memory::Server&> server) -> const Fd* {
      KJ_IF_MAYBE (local, server) return &kj::downcast<MemoryServer>(*local).fd();
      throw Error(ExitCode::infrastructure, "memory-invalid",
                  "a region's memory was not imported into this VMM");
    });
  }

  VmmState& vmm_;
  capnp::CapabilityServerSet<rpc::Memory> memories_;
};

}  // namespace

rpc::Vmm::Client vmmServer(VmmState& vmm) {
  return kj::heap<VmmServer>(vmm);
}

}  // namespace ktstr::vmm
