#include "orchestrator/machine_link.h"

#include <fcntl.h>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr int controlNumber = 3;
constexpr int observeNumber = 4;

Fd memoryOf(rpc::RegionKind kind, const PreparedRam& prepared, int base) {
  switch (kind) {
    case rpc::RegionKind::RAM:
      return prepared.ram.duplicate();
    case rpc::RegionKind::MAILBOX:
      return prepared.mailbox.duplicate();
    case rpc::RegionKind::BASE:
      break;
  }
  Fd copy(fcntl(base, F_DUPFD_CLOEXEC, 3));
  if (!copy) throw errnoError("dup-failed", text("duplicate descriptor ", base));
  return copy;
}

}  // namespace

std::vector<CpuidLeaf> offeredCpuid(rpc::VmmInfo::Reader info) {
  std::vector<CpuidLeaf> leaves;
  for (const auto leaf : info.getCpuid()) {
    leaves.push_back({leaf.getFunction(), leaf.getIndex(), leaf.getIndexed(), leaf.getEax(), leaf.getEbx(),
                      leaf.getEcx(), leaf.getEdx()});
  }
  return leaves;
}

MachineLink::MachineLink(kj::LowLevelAsyncIoProvider& io, const std::string& executable, Fd& observe,
                         int standardError)
    : vmm_(nullptr), machine_(nullptr) {
  auto [ourControl, itsControl] = makeSocketPair();
  auto [ourObserve, itsObserve] = makeSocketPair();
  SpawnOptions options;
  options.executable = executable;
  options.arguments = {"--control-fd", text(controlNumber), "--observe-fd", text(observeNumber)};
  options.descriptors = {{itsControl.get(), controlNumber}, {itsObserve.get(), observeNumber}};
  options.standardError = standardError;
  child_ = spawn(options);
  observe = std::move(ourObserve);
  connection_ = kj::heap<Connection>(io, std::move(ourControl), nullptr);
  vmm_ = connection_->bootstrap().castAs<rpc::Vmm>();
}

kj::Promise<rpc::VmmInfo::Reader> MachineLink::info() {
  return vmm_.infoRequest().send().then([this](capnp::Response<rpc::Vmm::InfoResults>&& response) {
    auto& kept = info_.emplace(kj::mv(response));
    return kept.getInfo();
  });
}

// The descriptor's capability is kept until the reply, and each message carries one (machine.capnp, Fd).
kj::Promise<void> MachineLink::importInto(rpc::PreparedMachine::Builder machine, uint32_t region, Fd fd) {
  auto carrier = giveFd(std::move(fd));
  auto request = vmm_.importMemoryRequest();
  request.setFd(carrier.castAs<rpc::Fd>());
  return request.send()
      .then([machine, region](capnp::Response<rpc::Vmm::ImportMemoryResults>&& response) mutable {
        machine.getRegions()[region].setMemory(response.getMemory());
      })
      .attach(kj::mv(carrier));
}

kj::Promise<void> MachineLink::boot(const PreparedRam& prepared, int base,
                                    const std::function<void(rpc::Placement::Builder)>& place) {
  auto request = kj::heap(vmm_.bootRequest());
  auto machine = request->initMachine();
  prepared.describe(machine);
  if (place) place(machine.initPlacement());
  auto regions = machine.getRegions();

  // Each memory object is handed over once; further regions of the same kind are windows on the first one's.
  kj::Promise<void> imported = kj::READY_NOW;
  for (uint32_t i = 0; i < regions.size(); i++) {
    uint32_t first = 0;
    while (regions[first].getKind() != regions[i].getKind()) first++;
    imported = imported.then([this, machine, i, first, &prepared, base]() mutable -> kj::Promise<void> {
      auto all = machine.getRegions();
      if (first == i) return importInto(machine, i, memoryOf(all[i].getKind(), prepared, base));
      all[i].setMemory(all[first].getMemory());
      return kj::READY_NOW;
    });
  }
  return imported.then([request = kj::mv(request)]() mutable { return request->send(); })
      .then([this](capnp::Response<rpc::Vmm::BootResults>&& response) { machine_ = response.getMachine(); });
}

kj::Promise<Fd> MachineLink::console() {
  return machine_.consoleRequest().send().then([](capnp::Response<rpc::Machine::ConsoleResults>&& response) {
    return takeFd(response.getStream()).attach(kj::mv(response));
  });
}

kj::Promise<Fd> MachineLink::doorbell() {
  return machine_.doorbellRequest().send().then(
      [](capnp::Response<rpc::Machine::DoorbellResults>&& response) {
        return takeFd(response.getStream()).attach(kj::mv(response));
      });
}

kj::Promise<void> MachineLink::start() {
  return machine_.startRequest().send().ignoreResult();
}

kj::Promise<void> MachineLink::stop() {
  return machine_.stopRequest().send().ignoreResult();
}

kj::Promise<void> MachineLink::wait(rpc::ExitReason::Builder exit) {
  return machine_.waitRequest().send().then(
      [exit](capnp::Response<rpc::Machine::WaitResults>&& response) mutable {
        exit.setKind(response.getExit().getKind());
        exit.setDetail(response.getExit().getDetail());
      },
      [this, exit](kj::Exception&& exception) mutable {
        const auto status = child_.poll();
        exit.setKind(rpc::ExitKind::ENGINE_KILLED);
        exit.setDetail("the VMM is gone: " + (status ? describeWaitStatus(*status)
                                                     : std::string(exception.getDescription().cStr())));
      });
}

}  // namespace ktstr
