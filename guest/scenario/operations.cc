#include "guest/scenario/operations.h"

namespace ktstr {

capnp::List<rpc::Op>::Reader operationsOf(rpc::Scenario::Reader scenario, uint32_t step) {
  if (step == rpc::BACKDROP_STEP) return scenario.getBackdrop().getOps();
  const auto steps = scenario.getSteps();
  return step < steps.size() ? steps[step].getOps() : capnp::List<rpc::Op>::Reader();
}

std::optional<rpc::Op::Reader> operationAt(rpc::Scenario::Reader scenario, uint32_t step, uint32_t op) {
  const auto ops = operationsOf(scenario, step);
  return op < ops.size() ? std::optional(ops[op]) : std::nullopt;
}

size_t countMapWrites(rpc::Scenario::Reader scenario) {
  size_t count = 0;
  for (const auto step : scenario.getSteps()) {
    for (const auto op : step.getOps()) count += op.isWriteMap() ? op.getWriteMap().size() : 0;
  }
  return count;
}

}  // namespace ktstr
