// The scheduling domains of each CPU: rq->sd and its parents (include/linux/sched/topology.h).
//
// The kernel makes them anew when CPUs come and go and when cpusets are partitioned, and frees the old ones:
// a tree that does not look like one is left out.
#pragma once

#include <array>

#include "monitor/member_group.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class SchedDomains {
 public:
  static constexpr size_t maxLevels = 16;  // of one CPU

  // Both must outlive this object.
  SchedDomains(const GuestKernel& kernel, const KernelLayout& layout);

  // What this kernel has not of them, with reasons.
  const std::vector<std::string>& absent() const { return absent_; }

  // Fills the domains of a CPU, the `which`th of all, whose rq->sd is `lowest`, if they are not as they were
  // in the sample before.
  void sample(size_t which, uint64_t lowest, rpc::CpuSample::Builder out);

 private:
  static constexpr size_t maxIdleTypes = 4;  // CPU_MAX_IDLE_TYPES is 3
  struct Domain {
    uint64_t address = 0;
    std::array<uint64_t, 8> values = {};  // as the names in the constructor
    std::array<uint32_t, maxIdleTypes> count = {}, failed = {};
    uint32_t moveAffine = 0;
    bool operator==(const Domain&) const = default;
  };
  bool walk(uint64_t lowest);
  std::optional<Domain> read(uint64_t address) const;
  void write(const std::vector<Domain>& domains, rpc::CpuSample::Builder out);
  const std::string& nameAt(uint64_t address);

  const GuestKernel& kernel_;
  MemberGroup members_;
  std::optional<Field> count_, failed_, moveAffine_;
  size_t idleTypes_ = 0;
  uint32_t bytes_ = 0;  // up to the end of the last member
  std::vector<std::string> absent_;
  std::vector<Domain> found_;              // of the CPU in hand
  std::vector<std::vector<Domain>> last_;  // by CPU
  std::map<uint64_t, std::string> names_;  // by address: a few, constant
};

}  // namespace ktstr
