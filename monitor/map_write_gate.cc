#include "monitor/map_write_gate.h"

#include "protocol/error.h"
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

}  // namespace

void writeMaps(kj::WaitScope& scope, rpc::WriteGate::Client gate,
               const std::vector<PlannedMapWrite>& writes) {
  std::vector<std::pair<const PlannedMapWrite*, PlannedMapWrite::Piece>> done;
  try {
    for (const auto& write : writes) {
      for (const auto& piece : write.pieces) {
        send(scope, gate, piece, write.bytes);
        done.emplace_back(&write, piece);
      }
    }
  } catch (const kj::Exception& refusal) {
    for (auto at = done.rbegin(); at != done.rend(); ++at) send(scope, gate, at->second, at->first->before);
    throw Error(ExitCode::infrastructure, "write-refused", refusal.getDescription().cStr(),
                text(done.size(), " pieces that were written before are as they were"));
  }
}

std::vector<std::byte> readBack(const GuestKernel& kernel, const PlannedMapWrite& write) {
  std::vector<std::byte> now(write.bytes.size());
  if (!kernel.copy(write.address, now)) now.clear();
  return now;
}

}  // namespace ktstr
