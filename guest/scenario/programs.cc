#include "guest/scenario/programs.h"

#include <algorithm>

namespace ktstr {
namespace {

void addOnce(const std::string& binary, std::vector<std::string>& binaries) {
  if (std::find(binaries.begin(), binaries.end(), binary) == binaries.end()) binaries.push_back(binary);
}

void addPayloads(capnp::List<rpc::Op>::Reader ops, std::vector<std::string>& binaries) {
  for (const auto& op : ops) {
    if (op.isRunPayload()) addOnce(op.getRunPayload().getBinary().cStr(), binaries);
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

std::vector<std::string> customPrograms(rpc::Scenario::Reader scenario) {
  std::vector<std::string> programs;
  forEachWork(scenario, [&](rpc::WorkSpec::Reader work) {
    if (work.getType().isCustom()) addOnce(work.getType().getCustom().getProgram().cStr(), programs);
  });
  return programs;
}

}  // namespace ktstr
