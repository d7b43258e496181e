// What the monitor's records prove. Feed every record in order; samples count from beginScenario() to
// endScenario(), because a booting kernel, and a scheduler on its way in or out, look like many things.
//
// A condition counts as sustained when it holds in Limits::sustainedSamples consecutive samples of one CPU
// (imbalance: of the machine). A sample that could not be read ends a run: nothing is proven by what was not
// seen. One before which the host starved a vCPU, of whichever CPU, or of which that is not known since the
// VMM did not answer, neither ends a run nor counts in it: what is sustained only with such samples is the
// host's doing (hostLack() in starvation.h says why).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/assertions.h"
#include "orchestrator/cpu_sight.h"
#include "orchestrator/program_runs.h"
#include "orchestrator/schedstat.h"
#include "orchestrator/scx_rate.h"
#include "orchestrator/starvation.h"
#include "protocol/record.capnp.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

// The longest run of samples in which a limit was broken.
struct Sustained {
  int32_t cpu = -1;                 // -1: the machine as a whole
  uint32_t run = 0;                 // consecutive samples
  uint64_t lastSequence = 0;        // sample in which the run ended
  double afterMs = 0;               // end of the run, since the first counted sample
  double value = 0;                 // worst in the run; of a stall the clock (ns) that stood still
  double fromMs = 0;                // the last sample before the run, like afterMs
  bool idle = false;                // of a stall: the idle task was on the CPU all the time
  std::vector<uint32_t> also = {};  // of a stall: other CPUs that stood still as long and until then
};

// Of one event counter of sched_ext.
struct RateEvidence {
  uint64_t intervals = 0;            // between two samples, in which the rate is known
  std::optional<double> highest;     // 1/s
  std::optional<Sustained> over;     // its limit
  std::optional<Sustained> starved;  // only if samples are counted in before which the host starved a vCPU
};

// How much of a host CPU a vCPU had.
struct HostShare {
  double hostMs = 0, wallMs = 0;
};

// Why samples were not believed.
enum class Implausible { dsqDepth, clockBackwards, noCpuReadable };

struct MonitorEvidence {
  bool attached = false;
  std::vector<std::string> absent;  // what the monitor says this kernel lacks
  std::string lastWaiting;          // why it could not attach, as last said
  std::optional<rpc::EndKind> ended;
  std::string endedDetail;

  uint64_t allSamples = 0;    // from boot on
  uint64_t samples = 0;       // while the scenario ran
  uint64_t validSamples = 0;  // of those, plausible
  std::map<Implausible, uint64_t> implausible;
  std::string implausibleExample;

  std::optional<double> maxImbalanceRatio, maxLocalDsqDepth, meanNrRunning;
  uint64_t stalledSamples = 0;      // samples with at least one stalled CPU, host starvation excluded
  uint64_t scxReadableSamples = 0;  // the sched_ext state could be read
  uint64_t scxEnabledSamples = 0;
  uint32_t scxLostRun = 0;            // longest run of samples not enabled after one that was
  uint64_t dsqReadableSamples = 0;    // with at least one CPU whose local DSQ could be read
  std::vector<std::string> opsNames;  // distinct, in order of sight, at most 16
  uint32_t maxCostNs = 0, meanCostNs = 0;
  SchedstatCounts schedstat;          // while the scenario ran
  std::vector<ProgramRuns> programs;  // likewise

  // When the host starved a vCPU, from the beginning of the scenario on (until then: from boot on). Where the
  // VMM does not tell the vCPUs' times, the machine as a whole is taken to be starved when samples are more
  // than 3 periods apart, or when guest jiffies stand still with a busy CPU; where it told them before and
  // after, that is how it was unless a vCPU wanted to run all along, by whose time it is seen.
  std::vector<Starvation> starved;
  std::vector<Starvation> baselineStarved;   // the same, of the second pass, from its own beginning on
  std::map<uint32_t, HostShare> hostShares;  // by vCPU, while the scenario ran; empty: not known
  // Jiffies stood still with a busy CPU over this many of the last samples (whole run), which came in time,
  // and the host is not known to have starved all of the busy ones. Of a shorter period than the usual one
  // only samples count that are a usual one apart; none that lacks the vCPUs' times, told before, counts.
  uint32_t standstillSamples = 0;

  std::optional<Sustained> stall;      // sustained, and the host is not to blame
  std::optional<Sustained> dsqDepth;   // over Limits::maxLocalDsqDepth
  std::optional<Sustained> imbalance;  // over Limits::maxImbalanceRatio
  RateEvidence fallback, keepLast;     // SCX_EV_SELECT_CPU_FALLBACK, SCX_EV_DISPATCH_KEEP_LAST
  // Every such run of a CPU that had nothing to run, not even the idle CPU's own queue, while another had two
  // tasks or more; `value` is the most tasks that waited anywhere. Whether they may run on that CPU is not
  // known here (judgeCpus()).
  std::vector<Sustained> unused;
  // Sustained only if samples are counted in before which the host starved a vCPU.
  std::optional<Sustained> starvedStall, starvedDsqDepth, starvedImbalance;
};

// max / max(1, min) of nr_running over readable CPUs, or nothing without one.
std::optional<double> imbalanceRatio(rpc::Sample::Reader sample);

// A local DSQ deeper than this is memory that is not what we take it for.
inline constexpr uint32_t maxPlausibleDsqDepth = 10000;
// More implausible samples than this share make the monitor's evidence worthless.
inline constexpr double maxImplausibleShare = 0.1;

// What one sample proves by itself; for whoever shows samples one by one, so that nobody judges them anew.
struct SampleSight {
  std::optional<Implausible> implausible;  // then nothing that it says counts
  bool stalled = false;                    // a CPU since the sample before, and the host is not to blame
};

// Of the monitor. The limits that count samples are meant for this; a shorter one needs more of them.
inline constexpr uint32_t usualSamplePeriodMs = 100;

class MonitorAnalysis {
 public:
  explicit MonitorAnalysis(const Limits& limits, uint32_t periodMs = usualSamplePeriodMs);
  // Of a sample, whether or not it counts, what it proves; of another record nothing.
  SampleSight add(rpc::MonitorRecord::Reader record);
  void beginScenario();  // with the guest's scenarioStarted
  void endScenario();    // with the guest's scenarioEnded
  // With the guest's schedulerAttached. One that comes in the midst of the scenario finds queues and CPUs as
  // another left them: as many samples as make a condition a sustained one show nothing of it.
  void schedulerAttached();
  void
  beginBaseline();  // with the guest's baselineStarted: no more samples count, but what the host does then
  MonitorEvidence evidence() const;
  // The same without a copy, and without programs.
  const MonitorEvidence& soFar() const { return evidence_; }

 private:
  // Consecutive samples in which a condition holds.
  struct Run {
    uint32_t fed = 0, all = 0;  // before which the host let all vCPUs run; with those before which it did not
    double worst = 0, fromMs = 0;
    bool idle = false;  // as in Sustained
  };
  struct CpuRuns {
    Run stall, dsq, unused;
  };
  // What the host did since the sample before.
  struct HostSight {
    std::map<uint32_t, bool> starved;  // by CPU, where the host time of its vCPU is known
    bool machineStarved = false;       // where it never is
    bool untold = false;               // it is at other times, but the VMM has not answered this time
    bool mayBeStarved() const;         // any of them
  };
  SampleSight addSample(rpc::Sample::Reader sample);
  HostSight lookAtHost(rpc::Sample::Reader sample);
  void keepHost(rpc::Sample::Reader sample, const HostSight& host);
  // Whether a CPU and what it was in the sample before fulfil a predicate of cpu_sight.h.
  bool anyCpu(rpc::Sample::Reader sample, bool (*predicate)(const CpuSight&, const CpuSight&)) const;
  void remember(rpc::Sample::Reader sample, const HostSight& host);
  double sinceOriginMs(uint64_t atNs) const;
  void countSample(rpc::Sample::Reader sample, const SampleSight& sight, bool starved);
  void countConditions(rpc::Sample::Reader sample, bool starved, Sustained here);
  void endRuns();
  std::optional<Implausible> findImplausible(rpc::Sample::Reader sample);
  void countScx(rpc::ScxSample::Reader scx);
  void countStall(const CpuSight& before, const CpuSight& now, Run& run, bool starved, Sustained here);
  void nameOthersThatStall(uint64_t sequence);
  void countUnused(const CpuSight& now, uint64_t waiting, Run& run, bool starved, Sustained here);
  void countDsq(rpc::CpuSample::Reader now, Run& run, bool starved, Sustained here);
  void countImbalance(double ratio, bool starved, Sustained here);
  void countRate(std::optional<double> rate, const Limit& limit, RateEvidence& seen, Run& run, bool starved,
                 Sustained here);
  // One sample more in which a condition holds with this value.
  void count(Run& run, bool starved, Sustained here, std::optional<Sustained>& fed,
             std::optional<Sustained>& all) const;
  void keepLongest(std::optional<Sustained>& longest, const Sustained& candidate) const;

  Limits limits_;
  uint64_t periodNs_;
  bool counting_ = false;
  uint32_t settling_ = 0;  // samples still to come that show nothing of a scheduler that has just attached
  bool inBaseline_ = false;
  MonitorEvidence evidence_;
  std::map<uint32_t, CpuSight> last_;  // of the sample before
  std::map<uint32_t, CpuRuns> runs_;   // runs in progress
  uint64_t lastAtNs_ = 0, lastJiffies_ = 0, standstillAtNs_ = 0;
  uint64_t toldAtNs_ = 0;           // of the last sample with the vCPUs' times; 0: none had
  std::vector<Starvation> silent_;  // of the machine as a whole, since then
  uint64_t originNs_ = 0;           // of times in ms; 0: no sample yet
  Run imbalanceRun_;
  ScxRate fallback_{"SCX_EV_SELECT_CPU_FALLBACK"}, keepLast_{"SCX_EV_DISPATCH_KEEP_LAST"};
  Run fallbackRun_, keepLastRun_;
  SchedstatWatch schedstat_;
  ProgramWatch programs_;
  uint32_t scxLostRun_ = 0;
  std::string implausibleText_;  // of the last one found
  uint64_t nrRunningSum_ = 0, nrRunningCount_ = 0, costSum_ = 0;
};

void writeMonitorSummary(const MonitorEvidence& evidence, rpc::MonitorSummary::Builder out);

}  // namespace ktstr
