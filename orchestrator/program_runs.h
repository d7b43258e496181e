// How often the schedulers' BPF programs ran while the scenario did, by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "protocol/record.capnp.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

struct ProgramRuns {
  std::string name;
  uint64_t runs = 0, nanos = 0, misses = 0;
};

class ProgramWatch {
 public:
  static constexpr size_t limit = 1024;  // programs; more are not counted

  // Each sample in order; it adds to runs() if it counts. What a program that was not there in the sample
  // before has run is from then on.
  void add(rpc::Sample::Reader sample, bool counts);
  // Those that ran, the one with the most time first.
  std::vector<ProgramRuns> runs() const;

 private:
  std::map<uint32_t, ProgramRuns> last_;  // by id
  std::map<std::string, ProgramRuns> sums_;
  bool any_ = false;  // a sample came before
};

void writeProgramRuns(const std::vector<ProgramRuns>& runs, rpc::MonitorSummary::Builder out);

}  // namespace ktstr
