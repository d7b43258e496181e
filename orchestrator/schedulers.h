// When which sched_ext scheduler had the guest's tasks, by what the guest told.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "protocol/record.capnp.h"
#include "protocol/report.capnp.h"

namespace ktstr {

struct AttachedTime {
  std::string name;  // the scenario's; empty: the one under test
  std::string opsName;
  uint64_t fromNs = 0;  // CLOCK_MONOTONIC of the guest
  std::optional<uint64_t> toNs = {};
  bool ordered = false;  // it left because it was asked to
};

// In the order in which they were attached. Texts are clean.
std::vector<AttachedTime> attachedTimes(std::span<const rpc::GuestEvent::Reader> events);

// As RunRecord.schedulers; `underTest` is the binary's name of the one under test.
void writeSchedulers(std::span<const AttachedTime> times, uint64_t scenarioStartNs,
                     const std::string& underTest, rpc::RunRecord::Builder record);

}  // namespace ktstr
