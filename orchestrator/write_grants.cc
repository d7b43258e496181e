#include "orchestrator/write_grants.h"

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

kj::Promise<void> WriteGrantsServer::grant(GrantContext context) {
  constexpr uint64_t maxBytes = 8;
  const auto refuse = [](const std::string& why) {
    throw Error(ExitCode::infrastructure, "grant-refused", why, "a monitor asks once, for what it writes");
  };
  if (granted_) refuse("a gate has been granted already");
  std::vector<WriteRange> ranges;
  for (const auto range : context.getParams().getRanges()) {
    if (range.getSize() == 0 || range.getSize() > maxBytes) refuse(text(range.getSize(), " bytes at once"));
    ranges.push_back({range.getGpa(), range.getSize()});
  }
  if (ranges.empty() || ranges.size() > 2 * writes_)  // a value may lie on two pages
    refuse(text(ranges.size(), " ranges for ", writes_, " writes"));
  granted_ = true;
  return machine_.writeGate(ranges).then(
      [context](rpc::WriteGate::Client gate) mutable { context.getResults().setGate(kj::mv(gate)); });
}

}  // namespace ktstr
