#include "orchestrator/machine_link.h"

#include <fcntl.h>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr int controlNumber = 3;
constexpr int observeNumber = 4;

Fd duplicateOf(int fd) {
  Fd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) throw errnoError("dup-failed", text("duplicate descriptor ", fd));
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

MachineLink::MachineLink(kj::LowLevelAsyncIoProvider& io, Fd control)
    : connection_(kj::heap<Connection>(io, std::move(control), nullptr)),
      vmm_(connection_->bootstrap().castAs<rpc::Vmm>()),
      machine_(nullptr) {}

kj::Promise<rpc::VmmInfo::Reader> MachineLink::info() {
  return vmm_.infoRequest().send().then([this](capnp::Response<rpc::Vmm::InfoResults>&& response) {
    auto& kept = info_.emplace(kj::mv(response));
    return kept.getInfo();
  });
}

// The descriptor's capability is kept until the reply, and each message carries one (machine.capnp, Fd).
kj::Promise<void> MachineLink::give(rpc::MemoryKind kind, Fd fd) {
  auto carrier = giveFd(std::move(fd));
  auto request = vmm_.giveMemoryRequest();
  request.setKind(kind);
  request.setFd(carrier.castAs<rpc::Fd>());
  return request.send().ignoreResult().attach(kj::mv(carrier));
}

kj::Promise<void> MachineLink::boot(const PreparedRam& prepared, int base,
                                    const std::function<void(rpc::Placement::Builder)>& place) {
  auto request = vmm_.bootRequest();
  auto machine = request.initMachine();
  prepared.describe(machine);
  if (place) place(machine.initPlacement());
  auto given = kj::heapArrayBuilder<kj::Promise<void>>(3);
  given.add(give(rpc::MemoryKind::RAM, prepared.ram.duplicate()));
  given.add(base < 0 ? kj::READY_NOW : give(rpc::MemoryKind::BASE, duplicateOf(base)));
  given.add(!prepared.mailbox ? kj::READY_NOW : give(rpc::MemoryKind::MAILBOX, prepared.mailbox.duplicate()));
  return kj::joinPromises(given.finish())
      .then([request = kj::mv(request)]() mutable { return request.send(); })
      .then([this](capnp::Response<rpc::Vmm::BootResults>&& response) { machine_ = response.getMachine(); });
}

kj::Promise<Fd> MachineLink::console() {
  return machine_.consoleRequest().send().then([](capnp::Response<rpc::Machine::ConsoleResults>&& response) {
    return takeFd(response.getStream()).attach(kj::mv(response));
  });
}

kj::Promise<rpc::WriteGate::Client> MachineLink::writeGate(const std::vector<WriteRange>& ranges,
                                                           bool publish) {
  auto request = machine_.writeGateRequest();
  auto list = request.initRanges(static_cast<unsigned>(ranges.size()));
  for (unsigned i = 0; i < ranges.size(); ++i) {
    list[i].setGpa(ranges[i].gpa);
    list[i].setSize(ranges[i].size);
  }
  request.setPublish(publish);
  return request.send().then([](auto&& response) { return response.getGate(); });
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

void MachineLink::end() {
  if (child_) child_.stop(1000);
  info_ = nullptr;
  machine_ = nullptr;
  vmm_ = nullptr;
  connection_ = nullptr;
}

}  // namespace ktstr
