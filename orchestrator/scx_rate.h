// How often an event of sched_ext happens (enum scx_event in the kernel's BTF), all CPUs together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "protocol/sample.capnp.h"

namespace ktstr {

class ScxRate {
 public:
  // As Attached.scxEventNames calls it: "SCX_EV_SELECT_CPU_FALLBACK".
  explicit ScxRate(std::string event) : event_(std::move(event)) {}

  // Which of the counters it is. Without this none is known.
  void find(rpc::Attached::Reader attached);

  // Per second since the sample before, of which each must be given. Nothing if the counter of any CPU could
  // not be read in one of the two, or went back: another scheduler has begun to count.
  std::optional<double> next(rpc::Sample::Reader sample);

  // All CPUs' since the attached scheduler's start. Nothing if that of any CPU could not be read: a part
  // would look like a counter that went back, and the next whole like an event's whole history at once.
  std::optional<uint64_t> sum(rpc::Sample::Reader sample) const;

  const std::string& event() const { return event_; }

 private:
  std::string event_;
  std::optional<unsigned> index_;
  std::optional<uint64_t> last_;
  uint64_t lastAtNs_ = 0;
};

}  // namespace ktstr
