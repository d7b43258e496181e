// How often the BPF programs of the attached scheduler ran, and for how long (kernel.bpf_stats_enabled).
//
// They are found through the struct_ops map whose functions the scheduler has: its links lead to the programs
// (kernel/bpf/bpf_struct_ops.c). That is done once for each scheduler; a sample then reads counters alone.
#pragma once

#include "monitor/bpf_objects.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class ScxPrograms {
 public:
  // Both must outlive this object.
  ScxPrograms(const GuestKernel& kernel, const KernelLayout& layout);

  // Why there are none in this kernel; empty if there can be.
  const std::string& absent() const { return absent_; }

  // Fills the programs of the scheduler that is attached now; none if there is none or it goes just now. If
  // they were not found in 16 samples, no more is looked for them, and Sample.incomplete says so.
  void sample(rpc::Sample::Builder out);

 private:
  struct Program {
    uint32_t id = 0;
    std::string name;
    const std::byte* idAt = nullptr;           // where the kernel has its id
    std::vector<const std::byte*> stats = {};  // by CPU: struct bpf_prog_stats
    bool isThere() const { return loadGuest<uint32_t>(idAt) == id; }
  };
  std::optional<uint64_t> scheduler() const;
  bool known(uint64_t scheduler) const;
  void find(uint64_t scheduler);
  void addProgramsOf(uint64_t structOpsMap);
  std::optional<Program> program(uint64_t address) const;
  bool hasFunctions(uint64_t structOpsMap, const std::vector<std::byte>& functions) const;

  const GuestKernel& kernel_;
  const KernelLayout& layout_;
  BpfObjects objects_;
  std::string absent_;
  uint64_t found_ = 0;     // scheduler whose programs are known, or were looked for
  unsigned attempts_ = 0;  // at finding them
  std::vector<Program> programs_;
  std::vector<uint32_t> cpus_;
};

}  // namespace ktstr
