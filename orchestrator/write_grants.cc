#include "orchestrator/write_grants.h"

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

WriteGrantsServer::WriteGrantsServer(MachineLink& machine, size_t writes, bool watchdog) : machine_(machine) {
  constexpr size_t rangesOfValue = 2;  // it may lie on two pages
  constexpr size_t schedulers = 64, wordsOfWatchdog = 3;
  rangesLeft_ = rangesOfValue * writes + (watchdog ? schedulers * wordsOfWatchdog : 0);
}

kj::Promise<void> WriteGrantsServer::grant(GrantContext context) {
  constexpr uint64_t maxBytes = 8;
  const auto refuse = [](const std::string& why) {
    throw Error(ExitCode::infrastructure, "grant-refused", why, "a monitor asks for what it writes alone");
  };
  std::vector<WriteRange> ranges;
  for (const auto range : context.getParams().getRanges()) {
    if (range.getSize() == 0 || range.getSize() > maxBytes) refuse(text(range.getSize(), " bytes at once"));
    ranges.push_back({range.getGpa(), range.getSize()});
  }
  if (ranges.empty() || ranges.size() > rangesLeft_)
    refuse(text(ranges.size(), " ranges where ", rangesLeft_, " are left"));
  rangesLeft_ -= ranges.size();
  return machine_.writeGate(ranges).then(
      [context](rpc::WriteGate::Client gate) mutable { context.getResults().setGate(kj::mv(gate)); });
}

}  // namespace ktstr
