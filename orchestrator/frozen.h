// When which cgroups were frozen by the scenario's own operations: no scheduler is to blame for that.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "protocol/report.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

class FrozenTimes {
 public:
  FrozenTimes(rpc::Scenario::Reader scenario, std::span<const rpc::GuestEvent::Reader> events);

  // For how long of [fromNs, toNs) (the guest's clock) the workers of a cgroup were frozen: with it, with one
  // above it, or with one that they were moved into.
  uint64_t frozenNs(const std::string& cgroup, uint64_t fromNs, uint64_t toNs) const;

 private:
  struct Time {
    std::string cgroup;
    uint64_t fromNs, toNs;
  };
  void apply(rpc::Op::Reader op, uint64_t atNs);
  void thaw(const std::optional<std::string>& cgroup, uint64_t atNs);

  std::vector<Time> times_;
  std::vector<std::pair<std::string, std::string>> moves_;  // from, to
};

}  // namespace ktstr
