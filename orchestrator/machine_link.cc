#include "orchestrator/machine_link.h"

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr int controlNumber = 3;
constexpr int observeNumber = 4;

}  // namespace

MachineLink::MachineLink(kj::LowLevelAsyncIoProvider& io, const std::string& executable, Fd& observe)
    : vmm_(nullptr), machine_(nullptr) {
  auto [ourControl, itsControl] = makeSocketPair();
  auto [ourObserve, itsObserve] = makeSocketPair();
  SpawnOptions options;
  options.executable = executable;
  options.arguments = {"--control-fd", text(controlNumber), "--observe-fd", text(observeNumber)};
  options.descriptors = {{itsControl.get(), controlNumber}, {itsObserve.get(), observeNumber}};
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

kj::Promise<void> MachineLink::boot(const PreparedRam& prepared, int base) {
  auto request = kj::heap(vmm_.bootRequest());
  auto machine = request->initMachine();
  prepared.describe(machine);
  auto regions = machine.getRegions();

  kj::Promise<void> imported = kj::READY_NOW;
  kj::Maybe<uint32_t> firstRam;
  for (uint32_t i = 0; i < regions.size(); i++) {
    switch (regions[i].getKind()) {
      case rpc::RegionKind::RAM:
        KJ_IF_MAYBE (first, firstRam) {  // several RAM regions are windows on one memory object
          imported = imported.then(
              [regions, i, first = *first]() mutable { regions[i].setMemory(regions[first].getMemory()); });
          continue;
        }
        firstRam = i;
        imported = imported.then([this, machine, i, fd = prepared.ram.duplicate()]() mutable {
          return importInto(machine, i, kj::mv(fd));
        });
        break;
      case rpc::RegionKind::BASE:
        imported = imported.then(
            [this, machine, i, fd = Fd(dup(base))]() mutable { return importInto(machine, i, kj::mv(fd)); });
        break;
      case rpc::RegionKind::MAILBOX:
        imported = imported.then([this, machine, i, fd = prepared.mailbox.duplicate()]() mutable {
          return importInto(machine, i, kj::mv(fd));
        });
        break;
    }
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
