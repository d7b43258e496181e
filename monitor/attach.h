// Getting hold of the guest's kernel: find it, know its symbols and types, see that its scheduler runs.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "monitor/kernel.h"

namespace ktstr {

// A kernel that we have hold of. Refers to the RamFile it was found in.
struct Attachment {
  std::unique_ptr<Analysis> analysis;
  std::unique_ptr<GuestKernel> kernel;
  bool cached = false;  // the analysis was not made just now
  uint32_t findMicros = 0;
  uint32_t symbolsMicros = 0;  // decode or load
  uint32_t btfMicros = 0;      // 0 if cached
  uint32_t totalMicros = 0;
};

// A stored analysis of a build id, if there is one.
using AnalysisLookup = std::function<std::optional<Analysis>(const std::string& buildId)>;

class Attacher {
 public:
  // `known`: the analysis of the kernel that is expected, if there is one. `lookup` is asked at most once per
  // build id.
  Attacher(const RamFile& ram, std::optional<Analysis> known, AnalysisLookup lookup);

  // One try: nothing while the kernel cannot be found or is not far enough; reason() then says why. Never
  // throws because of what is in guest memory.
  std::optional<Attachment> attempt();
  const std::string& reason() const { return reason_; }

 private:
  std::optional<Attachment> attachKnown();
  std::optional<Attachment> attachFound();
  bool haveAnalysisOf(const std::string& buildId);
  std::optional<Attachment> finish(const KernelPlace& place);

  const RamFile& ram_;
  std::unique_ptr<Analysis> analysis_;
  AnalysisLookup lookup_;
  std::string asked_;  // last build id looked up
  std::string reason_;
  Attachment timings_;
  bool made_ = false;  // analysis_ was made here, not stored
};

// Decodes symbols and types from guest memory. Throws Error "kallsyms-invalid", "btf-missing", "btf-invalid",
// "banner-mismatch". Micros of both parts are added up in `timings`.
Analysis analyse(const RamFile& ram, const Vmcoreinfo& info, const KernelPlace& place, Attachment& timings);

// All types of the kernel. Throws Error "btf-missing", "btf-invalid".
BtfTypes readKernelTypes(const GuestKernel& kernel);

// True once sched_init() has set up the runqueue of the first possible CPU; per-CPU areas and the direct map
// are final then.
bool schedulerIsUp(const GuestKernel& kernel, const KernelLayout& layout);

}  // namespace ktstr
