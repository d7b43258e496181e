#include "vmm/tcg_vmm.h"

#include <utility>

#include "protocol/log.h"
#include "protocol/text.h"
#include "vmm/firmware.h"
#include "vmm/qemu_command.h"
#include "vmm/rpc_error.h"

namespace ktstr::vmm {
namespace {

using rpc::RegionKind;

// Memory objects may be named by several regions.
std::vector<size_t> distinct(const std::vector<const Fd*>& ofRegion, std::vector<const Fd*>& objects) {
  std::vector<size_t> indices;
  for (const Fd* object : ofRegion) {
    size_t index = 0;
    while (index < objects.size() && objects[index] != object) ++index;
    if (index == objects.size()) objects.push_back(object);
    indices.push_back(index);
  }
  return indices;
}

int numberInQemu(RegionKind kind) {
  switch (kind) {
    case RegionKind::RAM:
      return qemufd::ram;
    case RegionKind::BASE:
      return qemufd::base;
    case RegionKind::MAILBOX:
      return qemufd::mailbox;
  }
  return -1;
}

std::vector<CheckedRegion> ramRegions(const CheckedMachine& machine) {
  std::vector<CheckedRegion> regions;
  for (const CheckedRegion& region : machine.regions) {
    if (region.kind == RegionKind::RAM) regions.push_back(region);
  }
  return regions;
}

// QEMU itself takes 0.1 s, but 7 s for 128 vCPUs on a machine ten times overcommitted, and more than in
// proportion.
kj::Duration launchLimit(uint32_t vcpus) {
  return (20 + vcpus / 2) * kj::SECONDS;
}

}  // namespace

TcgVmm::TcgVmm(kj::AsyncIoContext& io, std::variant<QemuProgram, Error> qemu, Fd warden,
               EngineChannels channels)
    : io_(io),
      qemu_(std::move(qemu)),
      engine_(io, std::move(warden), std::move(channels)),
      booted_(bootedPair_.promise.fork()) {
  detach(engine_.ended().then([this] {
    machine_.reset();
    bootedPair_.fulfiller->fulfill();
  }));
}

const QemuProgram& TcgVmm::qemu() const {
  if (const Error* error = std::get_if<Error>(&qemu_)) throw *error;
  return std::get<QemuProgram>(qemu_);
}

TcgVmm::Machine& TcgVmm::machine() {
  if (machine_) return *machine_;
  throw Error(ExitCode::infrastructure, "no-machine",
              engine_.hasEnded() ? text("no machine: it has ended, ", engine_.end().detail)
                                 : "no machine: none is booted");
}

kj::Promise<void> TcgVmm::boot(rpc::PreparedMachine::Reader source, const std::vector<const Fd*>& memories) {
  qemu();
  if (booting_)
    throw Error(ExitCode::infrastructure, "already-booted", "this VMM has booted its one machine");
  std::vector<const Fd*> objects;
  const std::vector<size_t> ofRegion = distinct(memories, objects);
  std::vector<MemoryFacts> facts;
  for (const Fd* object : objects) facts.push_back(memoryFacts(object->get()));
  CheckedMachine checked = checkMachine(source, ofRegion, facts);
  std::vector<std::string> arguments = qemuArguments(checked);
  Fd ram, mailbox;
  std::vector<std::pair<int, int>> descriptors;
  for (const RegionKind kind : {RegionKind::RAM, RegionKind::BASE, RegionKind::MAILBOX}) {
    const CheckedRegion* region = checked.find(kind);
    if (region == nullptr) continue;
    const Fd& object = *objects[region->memory];
    descriptors.emplace_back(object.get(), numberInQemu(kind));
    if (kind == RegionKind::RAM) ram = object.duplicate();
    if (kind == RegionKind::MAILBOX) mailbox = object.duplicate();
  }
  writeRom(engine_.firmware(), checked.boot);
  GuestRam mapped(ram.get(), ramRegions(checked));
  booting_ = true;
  auto launched = engine_.launch(std::move(arguments), std::move(descriptors), launchLimit(checked.vcpus));
  return launched.then([this, checked = std::move(checked), mapped = std::move(mapped), ram = std::move(ram),
                        mailbox = std::move(mailbox)]() mutable {
    sealRam(ram.get());
    if (mailbox) sealMailbox(mailbox.get());
    machine_.emplace(Machine{std::move(checked), std::move(ram), std::move(mapped)});
    bootedPair_.fulfiller->fulfill();
  });
}

void TcgVmm::detach(kj::Promise<void> task) {
  tasks_.add(kj::mv(task));
}

void TcgVmm::LogFailures::taskFailed(kj::Exception&& exception) {
  log::warn(exception.getDescription().cStr());
}

}  // namespace ktstr::vmm
