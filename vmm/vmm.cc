#include "vmm/vmm.h"

#include <utility>

#include "protocol/log.h"
#include "protocol/text.h"
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

MachineMemory objectsOf(const CheckedMachine& machine, const std::vector<const Fd*>& objects) {
  const auto object = [&](RegionKind kind) {
    const CheckedRegion* region = machine.find(kind);
    return region == nullptr ? Fd() : objects[region->memory]->duplicate();
  };
  return {object(RegionKind::RAM), object(RegionKind::BASE), object(RegionKind::MAILBOX)};
}

std::vector<CheckedRegion> ramRegions(const CheckedMachine& machine) {
  std::vector<CheckedRegion> regions;
  for (const CheckedRegion& region : machine.regions) {
    if (region.kind == RegionKind::RAM) regions.push_back(region);
  }
  return regions;
}

}  // namespace

Fd Engine::takeStream(Fd& stream, const char* name) {
  if (stream) return std::move(stream);
  throw Error(ExitCode::infrastructure, "stream-taken", text("the ", name, " has been given out before"));
}

VmmState::VmmState(kj::AsyncIoContext& io, Engine& engine)
    : io_(io), engine_(engine), booted_(bootedPair_.promise.fork()) {
  detach(engine_.ended().then([this] {
    machine_ = nullptr;
    bootedPair_.fulfiller->fulfill();
  }));
}

VmmState::Machine& VmmState::machine() {
  KJ_IF_MAYBE (machine, machine_) return **machine;
  throw Error(ExitCode::infrastructure, "no-machine",
              engine_.hasEnded() ? text("no machine: it has ended, ", engine_.end().detail)
                                 : "no machine: none is booted");
}

kj::Promise<void> VmmState::boot(rpc::PreparedMachine::Reader source,
                                 const std::vector<const Fd*>& memories) {
  if (booting_)
    throw Error(ExitCode::infrastructure, "already-booted", "this VMM has booted its one machine");
  std::vector<const Fd*> objects;
  const std::vector<size_t> ofRegion = distinct(memories, objects);
  std::vector<MemoryFacts> facts;
  for (const Fd* object : objects) facts.push_back(memoryFacts(object->get()));
  CheckedMachine checked = checkMachine(source, ofRegion, facts);
  MachineMemory kept = objectsOf(checked, objects);
  GuestRam mapped(kept.ram.get(), ramRegions(checked));
  booting_ = true;
  auto machine = kj::heap<Machine>(Machine{std::move(checked), std::move(kept), std::move(mapped)});
  auto launched = engine_.launch(machine->checked, machine->objects, machine->memory.data());
  return launched.then([this, machine = kj::mv(machine)]() mutable {
    sealRam(machine->objects.ram.get());
    if (machine->objects.mailbox) sealMailbox(machine->objects.mailbox.get());
    machine_ = kj::mv(machine);
    bootedPair_.fulfiller->fulfill();
  });
}

void VmmState::detach(kj::Promise<void> task) {
  tasks_.add(kj::mv(task));
}

void VmmState::LogFailures::taskFailed(kj::Exception&& exception) {
  log::warn(exception.getDescription().cStr());
}

}  // namespace ktstr::vmm
