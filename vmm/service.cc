#include "vmm/service.h"

#include <optional>
#include <utility>

#include "protocol/log.h"
#include "protocol/text.h"
#include "protocol/transport.h"
#include "vmm/rpc_error.h"

namespace ktstr::vmm {
namespace {

// Bounds a holder that hangs or forgets. One that takes lease after lease, as for a core of a large machine,
// stops the guest for longer; no sum bounds it, since how long a core takes is not known here. Who observes
// is trusted with that much: control sees no progress then, and its limits of time end the run by name.
constexpr auto kLeaseTime = 1 * kj::SECONDS;

class FreezeLeaseServer final : public rpc::FreezeLease::Server {
 public:
  explicit FreezeLeaseServer(VmmState& vmm)
      : vmm_(vmm),
        expiry_(vmm.timer().afterDelay(kLeaseTime).then([this] { release(); }).eagerlyEvaluate(nullptr)) {}
  ~FreezeLeaseServer() noexcept(false) { release(); }

 private:
  void release() {
    if (std::exchange(released_, true) || vmm_.engine().hasEnded()) return;
    vmm_.detach(kj::evalNow([this] { return vmm_.engine().thaw(); }));
  }

  VmmState& vmm_;
  bool released_ = false;
  kj::Promise<void> expiry_;
};

class ObserverServer final : public rpc::Observer::Server {
 public:
  explicit ObserverServer(VmmState& vmm) : vmm_(vmm) {}

 protected:
  kj::Promise<void> memory(MemoryContext context) override {
    return answering([this, context]() mutable {
      return vmm_.booted().then([this, context]() mutable {
        const VmmState::Machine& machine = vmm_.machine();
        auto results = context.getResults();
        results.setFd(giveFd(machine.objects.ram.duplicate()).castAs<rpc::Fd>());
        const auto& regions = machine.memory.regions();
        auto list = results.initRegions(static_cast<unsigned>(regions.size()));
        for (unsigned i = 0; i < list.size(); ++i) {
          list[i].setGpa(regions[i].gpa);
          list[i].setSize(regions[i].size);
          list[i].setOffset(regions[i].offset);
        }
      });
    });
  }

  kj::Promise<void> freezeLease(FreezeLeaseContext context) override {
    return answering([this, context]() mutable {
      return vmm_.booted()
          .then([this] {
            vmm_.machine();
            return vmm_.engine().freeze();
          })
          .then([this, context](uint32_t) mutable {
            context.getResults().setLease(kj::heap<FreezeLeaseServer>(vmm_));
          });
    });
  }

  kj::Promise<void> registers(RegistersContext context) override {
    return answering([this, context]() mutable {
      vmm_.machine();
      const VcpuRegisters values = vmm_.engine().registers(context.getParams().getVcpu());
      auto registers = context.getResults().initRegisters();
      registers.setRip(values.rip);
      registers.setCr3(values.cr3);
      registers.setLstar(values.lstar);
    });
  }

  kj::Promise<void> vcpuTimes(VcpuTimesContext context) override {
    return answering([this, context]() mutable {
      vmm_.machine();
      const std::vector<uint64_t> times = vmm_.engine().vcpuTimes();
      auto list = context.getResults().initNanos(static_cast<unsigned>(times.size()));
      for (unsigned i = 0; i < list.size(); ++i) list.set(i, times[i]);
    });
  }

 private:
  VmmState& vmm_;
};

class WriteGateServer final : public rpc::WriteGate::Server {
 public:
  // Without ranges of its own it grants what has been published at the time of the call.
  WriteGateServer(VmmState& vmm, const std::string& holder, std::optional<Ranges> ranges)
      : vmm_(vmm), name_(text("gate ", ++vmm.gates, " of ", holder)), ranges_(std::move(ranges)) {}

 protected:
  kj::Promise<void> write(WriteContext context) override {
    return answering([this, context]() mutable {
      const auto params = context.getParams();
      const auto bytes = std::as_bytes(std::span(params.getBytes().begin(), params.getBytes().size()));
      const Ranges& granted = ranges_ ? *ranges_ : vmm_.published;
      try {
        vmm_.machine().memory.write(params.getGpa(), bytes, granted);
      } catch (const Error& e) {
        log::audit(text(describe(granted), ": refused: ", e.what()));
        throw;
      }
      log::audit(text(describe(granted), ": wrote ", vmm::describe({params.getGpa(), bytes.size()})));
    });
  }

 private:
  // "gate 2 of uid 61001 (published, 4096 bytes at 0x200000 and 3 more)"
  std::string describe(const Ranges& granted) const {
    const std::string first = granted.empty() ? "nothing" : vmm::describe(granted[0]);
    const std::string more = granted.size() > 1 ? text(" and ", granted.size() - 1, " more") : "";
    return text(name_, ranges_ ? " (" : " (published, ", first, more, ")");
  }

  VmmState& vmm_;
  std::string name_;
  std::optional<Ranges> ranges_;
};

class MachineServer final : public rpc::Machine::Server {
 public:
  explicit MachineServer(VmmState& vmm) : vmm_(vmm) {}
  ~MachineServer() noexcept(false) { vmm_.engine().stop(); }

 protected:
  kj::Promise<void> start(StartContext) override {
    return answering([this] { return engine().start(); });
  }
  kj::Promise<void> stop(StopContext) override {
    vmm_.engine().stop();
    return vmm_.engine().ended();
  }
  kj::Promise<void> freeze(FreezeContext context) override {
    return answering([this, context]() mutable {
      return engine().freeze().then([this, context](uint32_t micros) mutable {
        ++freezes_;
        context.getResults().setMicros(micros);
      });
    });
  }
  kj::Promise<void> thaw(ThawContext) override {
    return answering([this] {
      Engine& frozen = engine();
      if (freezes_ == 0)
        throw Error(ExitCode::infrastructure, "not-frozen",
                    "a thaw without a freeze of this holder's before");
      --freezes_;
      return frozen.thaw();
    });
  }
  kj::Promise<void> wait(WaitContext context) override {
    return vmm_.engine().ended().then([this, context]() mutable {
      auto exit = context.getResults().initExit();
      exit.setKind(vmm_.engine().end().kind);
      exit.setDetail(vmm_.engine().end().detail);
    });
  }
  kj::Promise<void> console(ConsoleContext context) override {
    return answering([this, context]() mutable {
      context.getResults().setStream(giveFd(vmm_.engine().takeConsole()).castAs<rpc::Fd>());
    });
  }
  kj::Promise<void> doorbell(DoorbellContext context) override {
    return answering([this, context]() mutable {
      context.getResults().setStream(giveFd(vmm_.engine().takeDoorbell()).castAs<rpc::Fd>());
    });
  }
  kj::Promise<void> observer(ObserverContext context) override {
    context.getResults().setObserver(observerServer(vmm_));
    return kj::READY_NOW;
  }
  kj::Promise<void> writeGate(WriteGateContext context) override {
    return answering([this, context]() mutable {
      Ranges ranges;
      for (const auto range : context.getParams().getRanges())
        ranges.push_back({range.getGpa(), range.getSize()});
      vmm_.machine().memory.checkRanges(ranges);
      if (context.getParams().getPublish()) vmm_.published = ranges;
      context.getResults().setGate(kj::heap<WriteGateServer>(vmm_, "control", std::move(ranges)));
    });
  }

 private:
  // Of a machine that still exists.
  Engine& engine() {
    vmm_.machine();
    return vmm_.engine();
  }

  VmmState& vmm_;
  unsigned freezes_ = 0;  // its own: leases' are none of its business
};

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
        context.getResults().setMachine(kj::heap<MachineServer>(vmm_));
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
rpc::Observer::Client observerServer(VmmState& vmm) {
  return kj::heap<ObserverServer>(vmm);
}
rpc::WriteGate::Client publishedGateServer(VmmState& vmm, const std::string& holder) {
  return kj::heap<WriteGateServer>(vmm, holder, std::nullopt);
}

}  // namespace ktstr::vmm
