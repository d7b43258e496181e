// The monitor's samples judged while the run goes, by the code that judges them at its end: a violation is
// told at the sample that makes it a sustained one, when the state that it is about is still there to be
// looked at.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "orchestrator/monitor_summary.h"

namespace ktstr {

// Names of the findings that the samples so far would make: "imbalance". What the host did is not among them,
// nor is anything if too many samples are not to be believed. `underScheduler`: a sched_ext scheduler is
// under test.
std::vector<std::string> sustainedViolations(const Limits& limits, bool underScheduler,
                                             const MonitorEvidence& seen);

class LiveJudgement {
 public:
  using Violated = std::function<void(const std::string& finding)>;

  // `violated` is called once for each kind of violation.
  LiveJudgement(const Limits& limits, bool underScheduler, Violated violated)
      : limits_(limits), underScheduler_(underScheduler), violated_(std::move(violated)) {}

  // After each sample.
  void look(const MonitorEvidence& seen) {
    for (const auto& finding : sustainedViolations(limits_, underScheduler_, seen)) {
      if (told_.insert(finding).second) violated_(finding);
    }
  }

 private:
  Limits limits_;
  bool underScheduler_;
  Violated violated_;
  std::set<std::string> told_;
};

}  // namespace ktstr
