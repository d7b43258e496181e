// What a sample tells of a runqueue besides what is always there: schedstat counters and the fair class.
#pragma once

#include <array>
#include <optional>

#include "monitor/member_group.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class RunqueueGroups {
 public:
  explicit RunqueueGroups(const KernelLayout& layout);

  // A reason for each group that this kernel has not.
  std::vector<std::string> absent() const;

  // Of one runqueue. Empty: absent, or not in memory.
  struct Places {
    std::vector<const std::byte*> schedstat, cfs;
  };
  Places locate(const GuestKernel& kernel, uint64_t runqueue) const;

  struct Values {
    std::optional<std::array<uint64_t, 8>> schedstat;
    std::optional<std::array<uint64_t, 3>> cfs;
  };
  Values read(const Places& places) const;
  // Fills schedstat and cfs, as far as they were read. Queues of more than `maxTasks` are not believed.
  static void write(const Values& values, uint32_t maxTasks, rpc::CpuSample::Builder out);

 private:
  MemberGroup schedstat_, cfs_;
};

}  // namespace ktstr
