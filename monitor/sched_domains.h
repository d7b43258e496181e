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
  static constexpr size_t maxLevels = 16;      // of one CPU
  static constexpr size_t maxDomains = 16384;  // of all CPUs

  // Both must outlive this object.
  SchedDomains(const GuestKernel& kernel, const KernelLayout& layout);

  // What this kernel has not of them, with reasons.
  const std::vector<std::string>& absent() const { return absent_; }

  // Of DomainSample.stats: all members of struct sched_domain that count what its balancing did. An array's
  // are "lb_gained[0]", "lb_gained[1]", ...
  const std::vector<std::string>& statNames() const { return statNames_; }

  // Fills the domains of a CPU, the `which`th of all, whose rq->sd is `lowest`, if they are not as they were
  // in the sample before. False: they are left out, because all CPUs together have more than maxDomains.
  bool sample(size_t which, uint64_t lowest, rpc::CpuSample::Builder out);

 private:
  static constexpr size_t maxIdleTypes = 4;  // CPU_MAX_IDLE_TYPES is 3
  static constexpr size_t maxStats = 64;
  struct Domain {
    uint64_t address = 0;
    std::array<uint64_t, 8> values = {};  // as the names in the constructor
    std::array<uint32_t, maxIdleTypes> count = {}, failed = {};
    uint32_t moveAffine = 0;
    std::array<uint32_t, maxStats> stats = {};
    bool operator==(const Domain&) const = default;
  };
  void findStats(const KernelLayout& layout);
  bool walk(uint64_t lowest);
  std::optional<Domain> read(uint64_t address) const;
  void write(const std::vector<Domain>& domains, rpc::CpuSample::Builder out);
  const std::string& nameAt(uint64_t address);

  const GuestKernel& kernel_;
  MemberGroup members_;
  std::optional<Field> count_, failed_, moveAffine_;
  std::vector<std::string> statNames_;
  std::vector<uint32_t> statOffsets_;
  size_t idleTypes_ = 0;
  uint32_t bytes_ = 0;  // up to the end of the last member
  std::vector<std::string> absent_;
  std::vector<Domain> found_;              // of the CPU in hand
  std::vector<std::vector<Domain>> last_;  // by CPU
  size_t remembered_ = 0;                  // in them
  std::map<uint64_t, std::string> names_;  // by address: a few, constant
};

}  // namespace ktstr
