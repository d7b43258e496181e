// `ktstr demo`: one scenario under the kernel's own scheduler and under real sched_ext ones, side by side.
#pragma once

#include <string>
#include <vector>

#include "orchestrator/options.h"

namespace ktstr {

struct DemoOptions {
  std::string scenario;  // path; empty = the shipped demo scenario
  std::string kernel = "debian:7.3";
  std::string topology = "1n2l2c2t";
  std::string duration;  // empty = the scenario's
  std::vector<std::string> schedulers = {"eevdf", "scx_simple", "scx_qmap", "scx_flatcg"};
  OutputFormat format = OutputFormat::human;
};

// Runs each in a process of its own, prints the table or the records on stdout. Returns the exit code: that
// of the worst verdict.
int runDemo(const DemoOptions& options);

}  // namespace ktstr
