#include "vmm/vmm.h"

#include <iterator>
#include <utility>

#include "protocol/log.h"
#include "protocol/text.h"
#include "vmm/rpc_error.h"

namespace ktstr::vmm {
namespace {

std::optional<MemoryFacts> factsOf(const Fd& object) {
  return object ? std::optional(memoryFacts(object.get())) : std::nullopt;
}

}  // namespace

Fd Engine::takeStream(Fd& stream, const char* name) {
  if (stream) return std::move(stream);
  throw Error(ExitCode::infrastructure, "stream-taken", text("the ", name, " has been given out before"));
}

VmmState::VmmState(kj::AsyncIoContext& io, Engine& engine)
    : io_(io), engine_(engine), booted_(bootedPair_.promise.fork()) {
  auto end = [this] {
    machine_ = nullptr;
    bootedPair_.fulfiller->fulfill();
  };
  watching_ = engine_.ended().then(kj::mv(end)).eagerlyEvaluate(nullptr);
}

VmmState::Machine& VmmState::machine() {
  KJ_IF_MAYBE (machine, machine_) return **machine;
  throw Error(ExitCode::infrastructure, "no-machine",
              engine_.hasEnded() ? text("no machine: it has ended, ", engine_.end().detail)
                                 : "no machine: none is booted");
}

void VmmState::requireUnbooted() const {
  if (booting_)
    throw Error(ExitCode::infrastructure, "already-booted",
                "this VMM has taken its one machine, whatever came of it");
}

void VmmState::give(rpc::MemoryKind kind, Fd object) {
  requireUnbooted();
  memoryFacts(object.get());
  Fd* const places[] = {&given_.ram, &given_.base, &given_.mailbox};
  const auto index = static_cast<size_t>(kind);
  if (index >= std::size(places))
    throw Error(ExitCode::infrastructure, "memory-invalid",
                text("kind ", index, " of memory, must be at most 2"));
  *places[index] = std::move(object);
}

kj::Promise<void> VmmState::boot(rpc::PreparedMachine::Reader source) {
  requireUnbooted();
  CheckedMachine checked =
      checkMachine(source, {factsOf(given_.ram), factsOf(given_.base), factsOf(given_.mailbox)});
  GuestRam mapped(given_.ram.get(), checked.ram);
  booting_ = true;
  auto machine = kj::heap<Machine>(Machine{std::move(checked), std::move(given_), std::move(mapped)});
  auto launched =
      kj::evalNow([&] { return engine_.launch(machine->checked, machine->objects, machine->memory.data()); });
  auto sealed = [this, machine = kj::mv(machine)]() mutable {
    sealRam(machine->objects.ram.get());
    if (memoryFacts(machine->objects.ram.get()).size != machine->checked.ramBytes())
      throw Error(ExitCode::infrastructure, "memory-invalid", "ram has changed its size meanwhile");
    if (machine->objects.mailbox) sealMailbox(machine->objects.mailbox.get());
    machine_ = kj::mv(machine);
    bootedPair_.fulfiller->fulfill();
  };
  return launched.then(kj::mv(sealed)).catch_([this](kj::Exception&& failure) -> kj::Promise<void> {
    bootedPair_.fulfiller->fulfill();  // who waits for it learns that there is none
    return kj::mv(failure);
  });
}

void VmmState::detach(kj::Promise<void> task) {
  task.detach([](kj::Exception&& exception) { log::warn(exception.getDescription().cStr()); });
}

}  // namespace ktstr::vmm
