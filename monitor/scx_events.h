// sched_ext's event counters, SCX_EV_*: how often the kernel did something that a scheduler had better known
// of. Per CPU, from zero with each scheduler, only ever growing.
//
// A kernel keeps them in one of three places, told apart by what its BTF and symbols have:
//   scx_sched.pcpu -> scx_sched_pcpu.event_stats   stable 6.17.7, and from 6.18 on
//   scx_sched.event_stats_cpu                      from 6.16 on
//   the per-CPU variable event_stats_cpu           6.15
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "monitor/attach.h"

namespace ktstr {

class ScxEvents {
 public:
  // `attachment` must outlive this object.
  explicit ScxEvents(const Attachment& attachment);

  // As BTF has them, in the kernel's order; empty if this kernel has none that we can read.
  const std::vector<std::string>& names() const { return names_; }
  // Why there are none; empty if there are.
  const std::string& absent() const { return absent_; }

  // Where the counters are right now; nothing if no scheduler is attached. Read anew for each sample: the
  // next scheduler's are somewhere else.
  struct Place {
    uint64_t scheduler;  // *scx_root, 0 if the counters are in a variable of their own
    uint64_t perCpu;     // of the first counter, to which a CPU's offset is added
  };
  std::optional<Place> locate() const;
  // One CPU's counters, as names(). Empty if they cannot be read or one of them is negative.
  std::vector<uint64_t> read(const Place& place, uint32_t cpu) const;
  // False if the scheduler was replaced since: what was read is worth nothing.
  bool holds(const Place& place) const;

 private:
  const GuestKernel& kernel_;
  std::vector<std::string> names_;
  std::vector<uint32_t> offsets_;
  uint32_t bytes_ = 0;  // up to the end of the last counter
  std::string absent_;
  std::optional<uint64_t> root_;          // address of the variable scx_root
  std::optional<uint64_t> variable_;      // of the per-CPU variable
  std::optional<uint32_t> pointerField_;  // in scx_sched, of the pointer to per-CPU data
  uint32_t inPerCpu_ = 0;                 // offset of the counters there
};

}  // namespace ktstr
