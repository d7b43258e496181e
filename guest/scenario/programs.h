// The programs that a scenario brings into the guest.
#pragma once

#include <string>
#include <vector>

#include "protocol/scenario.capnp.h"

namespace ktstr {

// Where a program is in the guest: /ktstr/bin/ and its base name. Two that would be at the same place are
// refused when the image is made.
std::string guestProgram(const std::string& binary);

// Every payload's binary, in the order of use, each once.
std::vector<std::string> payloadBinaries(rpc::Scenario::Reader scenario);

// Every program of a custom function, likewise; "" among them if one names none.
std::vector<std::string> customPrograms(rpc::Scenario::Reader scenario);

// Calls visit(work) for each WorkSpec of a scenario, Reader or Builder.
template <typename Scenario, typename Visit>
void forEachWork(Scenario scenario, const Visit& visit) {
  const auto ofOps = [&](auto ops) {
    for (auto op : ops) {
      if (op.isSpawn()) visit(op.getSpawn().getWork());
    }
  };
  const auto ofCgroups = [&](auto cgroups) {
    for (auto cgroup : cgroups) {
      for (auto work : cgroup.getWork()) visit(work);
    }
  };
  ofCgroups(scenario.getBackdrop().getCgroups());
  ofOps(scenario.getBackdrop().getOps());
  for (auto step : scenario.getSteps()) {
    ofCgroups(step.getCgroups());
    ofOps(step.getOps());
  }
}

}  // namespace ktstr
