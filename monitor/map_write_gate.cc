#include "monitor/map_write_gate.h"

#include "monitor/freeze.h"
#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

void send(kj::WaitScope& scope, rpc::WriteGate::Client& gate, const PlannedMapWrite::Piece& piece,
          const std::vector<std::byte>& bytes) {
  auto request = gate.writeRequest();
  request.setGpa(piece.gpa);
  request.setBytes(kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()) + piece.offset, piece.size));
  request.send().ignoreResult().wait(scope);
}

using Done = std::vector<std::pair<const PlannedMapWrite*, PlannedMapWrite::Piece>>;

// In words.
std::string putBack(kj::WaitScope& scope, rpc::WriteGate::Client& gate, const Done& done) {
  size_t left = 0;
  for (auto at = done.rbegin(); at != done.rend(); ++at) {
    try {
      send(scope, gate, at->second, at->first->before);
    } catch (const kj::Exception&) {
      ++left;
    }
  }
  if (left > 0)
    return text(left, " of ", done.size(), " pieces that were written before could not be put back");
  return text(done.size(), " pieces that were written before are as they were");
}

// The same bytes at the same place?
bool isSame(const PlannedMapWrite& one, const PlannedMapWrite& other) {
  return one.address == other.address && one.bytes == other.bytes && one.pieces == other.pieces;
}

}  // namespace

void writeMaps(kj::WaitScope& scope, rpc::WriteGate::Client gate,
               const std::vector<PlannedMapWrite>& writes) {
  Done done;
  try {
    for (const auto& write : writes) {
      for (const auto& piece : write.pieces) {
        send(scope, gate, piece, write.bytes);
        done.emplace_back(&write, piece);
      }
    }
  } catch (const kj::Exception& refusal) {
    throw Error(ExitCode::infrastructure, "write-refused", refusal.getDescription().cStr(),
                putBack(scope, gate, done));
  }
}

std::vector<std::byte> readBack(const GuestKernel& kernel, const PlannedMapWrite& write) {
  std::vector<std::byte> now(write.bytes.size());
  if (!kernel.copy(write.address, now)) now.clear();
  return now;
}

FrozenWrites writeMapsFrozen(FrozenWriteAccess access, const GuestKernel& kernel,
                             const std::vector<PlannedMapWrite>& planned,
                             const std::function<std::vector<PlannedMapWrite>()>& plan) {
  Freeze freeze(access.io, access.observer, 0);
  if (!freeze.failure().empty())
    throw Error(ExitCode::infrastructure, "freeze-failed", freeze.failure(),
                "a map is written to while the guest stands still: nothing was written");
  FrozenWrites writes{plan(), {}, 0};
  if (!std::equal(writes.made.begin(), writes.made.end(), planned.begin(), planned.end(), isSame))
    throw Error(ExitCode::inconclusive, "map-moved",
                "a map is no longer where it was when the gate was asked for",
                "its scheduler was replaced meanwhile: nothing was written");
  writeMaps(access.io.waitScope, access.gate, writes.made);
  for (const auto& write : writes.made) writes.after.push_back(readBack(kernel, write));
  freeze.thaw();
  writes.frozenNs = freeze.frozenNs();
  if (!freeze.failure().empty())
    throw Error(ExitCode::infrastructure, "freeze-lost", "the guest went on before all was written",
                "it holds what was asked for, but may have seen a part of it alone");
  return writes;
}

}  // namespace ktstr
