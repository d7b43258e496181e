// Samples of all runqueues and of sched_ext, from guest memory alone. The guest does not notice.
#pragma once

#include <string>
#include <vector>

#include "monitor/runqueue_groups.h"
#include "monitor/sched_domains.h"
#include "monitor/scx_events.h"
#include "monitor/scx_programs.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class Sampler {
 public:
  // Translates every address that stays the same, once. `attachment` must outlive the sampler.
  explicit Sampler(const Attachment& attachment);

  // Of the counters in CpuSample.scxEvents.
  const std::vector<std::string>& scxEventNames() const { return events_.names(); }
  // Of DomainSample.stats.
  const std::vector<std::string>& domainStatNames() const { return domains_.statNames(); }

  // Fills a sample but for its sequence, atNs and costNs. A CPU that is not up yet, or whose runqueue does
  // not look like one, is not valid. The fields of a CPU are read between two reads of its clock and current
  // task; if these differ in three tries the CPU is marked torn.
  void sample(rpc::Sample::Builder out);

  // What this kernel does not have, each with its reason.
  std::vector<std::string> absent() const { return absent_; }
  size_t cpuCount() const { return cpus_.size(); }

 private:
  // Host addresses of one runqueue's fields; nullptr = absent.
  struct Runqueue {
    uint32_t cpu = 0;
    bool known = false;
    const std::byte* nrRunning = nullptr;
    const std::byte* clock = nullptr;
    const std::byte* curr = nullptr;
    const std::byte* cpuNumber = nullptr;
    const std::byte* scxNrRunning = nullptr;
    const std::byte* scxFlags = nullptr;
    const std::byte* localDsqNr = nullptr;
    const std::byte* domain = nullptr;  // rq->sd
    const std::byte* calls = nullptr;   // the calls of other CPUs that it has not answered: a list's head
    RunqueueGroups::Places groups = {};
  };
  struct Task {
    int32_t pid;
    char comm[17];
    bool toReschedule;  // told for an idle task alone
  };

  void locate(Runqueue& rq) const;
  // False: its domains are left out.
  bool sampleCpu(size_t which, rpc::CpuSample::Builder out);
  bool sampleOnce(const Runqueue& rq, RunqueueGroups::Values& groups, rpc::CpuSample::Builder out) const;
  std::optional<Task> readTask(uint64_t va) const;
  void sampleScx(rpc::ScxSample::Builder out) const;
  void sampleEvents(rpc::Sample::Builder out) const;
  std::string opsName() const;
  const std::byte* word(const char* symbol, uint64_t size);

  const GuestKernel& kernel_;
  const KernelLayout& layout_;
  std::vector<std::string> absent_;
  std::vector<Runqueue> cpus_;
  RunqueueGroups groups_;
  SchedDomains domains_;
  ScxEvents events_;
  ScxPrograms programs_;
  std::optional<Field> pid_, comm_, flags_, opsName_;
  const std::byte* jiffies_;
  const std::byte* scxState_;
  const std::byte* scxRoot_;
  std::vector<std::pair<int64_t, rpc::ScxState>> states_;
};

}  // namespace ktstr
