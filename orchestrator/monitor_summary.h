// What the monitor's records prove. Feed every record in order; samples count from beginScenario() to
// endScenario(), because a booting kernel, and a scheduler on its way in or out, look like many things.
//
// A condition counts as sustained when it holds in Limits::sustainedSamples consecutive samples of one CPU
// (imbalance: of the machine). A sample that could not be read ends a run: nothing is proven by what was not
// seen.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/assertions.h"
#include "protocol/record.capnp.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

// The longest run of samples in which a limit was broken.
struct Sustained {
  int32_t cpu = -1;           // -1: the machine as a whole
  uint32_t run = 0;           // consecutive samples
  uint64_t lastSequence = 0;  // sample in which the run ended
  double afterMs = 0;         // end of the run, since the first counted sample
  double value = 0;           // worst in the run; of a stall the clock (ns) that stood still
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

  // Times when the machine as a whole did not run: samples more than 3 periods apart, or guest jiffies that
  // stood still. Whatever stalls then is the host's doing.
  uint64_t starvedIntervals = 0;
  double starvedMs = 0, longestStarvedMs = 0;
  // Jiffies stood still with a busy CPU over this many of the last samples (whole run), which came in time.
  uint32_t standstillSamples = 0;

  std::optional<Sustained> stall;         // sustained, and the host is not to blame
  std::optional<Sustained> starvedStall;  // sustained only if starved intervals are counted in
  std::optional<Sustained> dsqDepth;      // over Limits::maxLocalDsqDepth
  std::optional<Sustained> imbalance;     // over Limits::maxImbalanceRatio
};

// What of one CPU is compared from sample to sample.
struct CpuSight {
  bool readable = false;  // valid and not torn
  uint32_t nrRunning = 0;
  uint64_t clock = 0;
};
CpuSight sightOf(rpc::CpuSample::Reader cpu);

// The one predicate of a stall: both samples readable and busy, and a clock that is known (not 0) and the
// same.
bool stalledBetween(const CpuSight& before, const CpuSight& now);

// max / max(1, min) of nr_running over readable CPUs, or nothing without one.
std::optional<double> imbalanceRatio(rpc::Sample::Reader sample);

// A local DSQ deeper than this is memory that is not what we take it for.
inline constexpr uint32_t maxPlausibleDsqDepth = 10000;
// More implausible samples than this share make the monitor's evidence worthless.
inline constexpr double maxImplausibleShare = 0.1;

class MonitorAnalysis {
 public:
  explicit MonitorAnalysis(const Limits& limits, uint32_t periodMs = 100);
  void add(rpc::MonitorRecord::Reader record);
  void beginScenario();  // with the guest's scenarioStarted
  void endScenario();    // with the guest's scenarioEnded
  MonitorEvidence evidence() const;

 private:
  struct CpuRuns {
    uint32_t stallRun = 0;         // samples of this stall outside starved intervals
    uint32_t starvedStallRun = 0;  // all samples of this stall
    uint32_t dsqRun = 0;
    double dsqWorst = 0;
  };
  void addSample(rpc::Sample::Reader sample);
  bool anyBusySince(rpc::Sample::Reader sample) const;
  void remember(rpc::Sample::Reader sample);
  void countSample(rpc::Sample::Reader sample, bool starved);
  std::optional<Implausible> findImplausible(rpc::Sample::Reader sample);
  void countScx(rpc::ScxSample::Reader scx);
  bool countStall(const CpuSight& before, rpc::CpuSample::Reader now, CpuRuns& runs, bool starved,
                  Sustained here);
  void countDsq(rpc::CpuSample::Reader now, CpuRuns& runs, Sustained here);
  void countImbalance(double ratio, Sustained here);
  void keepLongest(std::optional<Sustained>& longest, const Sustained& candidate) const;

  Limits limits_;
  uint64_t periodNs_;
  bool counting_ = false;
  MonitorEvidence evidence_;
  std::map<uint32_t, CpuSight> last_;  // of the sample before
  std::map<uint32_t, CpuRuns> runs_;   // runs in progress
  uint64_t lastAtNs_ = 0, lastJiffies_ = 0, firstCountedNs_ = 0;
  uint32_t imbalanceRun_ = 0, scxLostRun_ = 0;
  double imbalanceWorst_ = 0, starvedRunMs_ = 0;
  std::string implausibleText_;  // of the last one found
  uint64_t nrRunningSum_ = 0, nrRunningCount_ = 0, costSum_ = 0;
};

void writeMonitorSummary(const MonitorEvidence& evidence, rpc::MonitorSummary::Builder out);

}  // namespace ktstr
