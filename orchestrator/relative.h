// A scenario's figures under the scheduler beside the same under EEVDF, in one machine.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "orchestrator/judge.h"

namespace ktstr {

// What one pass of the scenario told.
struct Passes {
  std::vector<rpc::GuestEvent::Reader> scheduler;  // all but the second pass; the end of the run included
  std::vector<rpc::GuestEvent::Reader>
      baseline;  // baselineStarted, then steps, operations, reports, failures
};
Passes splitPasses(std::span<const rpc::GuestEvent::Reader> events);

// One figure of a declared work group in both.
struct RelativeFigure {
  const GroupFigures *group, *baselineGroup;  // in the pass under the scheduler, and under EEVDF
  const char* name;                           // as in BaselineFigure
  std::optional<double> scheduler, baseline;
};
std::vector<RelativeFigure> relativeFigures(const std::vector<GroupFigures>& scheduler,
                                            const std::vector<GroupFigures>& baseline);

// As RunRecord.baseline.
void writeBaseline(const std::vector<RelativeFigure>& figures, rpc::RunRecord::Builder record);

}  // namespace ktstr
