#include "guest/scenario/programs.h"

#include <algorithm>

namespace ktstr {
namespace {

void addPayloads(capnp::List<rpc::Op>::Reader ops, std::vector<std::string>& binaries) {
  for (const auto& op : ops) {
    if (!op.isRunPayload()) continue;
    const std::string binary = op.getRunPayload().getBinary().cStr();
    if (std::find(binaries.begin(), binaries.end(), binary) == binaries.end()) binaries.push_back(binary);
  }
}

}  // namespace

std::string guestProgram(const std::string& binary) {
  return "/ktstr/bin/" + binary.substr(binary.rfind('/') + 1);
}

std::vector<std::string> payloadBinaries(rpc::Scenario::Reader scenario) {
  std::vector<std::string> binaries;
  addPayloads(scenario.getBackdrop().getOps(), binaries);
  for (const auto& step : scenario.getSteps()) addPayloads(step.getOps(), binaries);
  return binaries;
}

}  // namespace ktstr
