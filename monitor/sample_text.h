// Samples for people, at most 100 columns wide:
//
//   #12 jiffies 4294942111, scx enabled simple, 35.3 us, counters since #11
//     CPU  run  scx  local  cfs  current   calls  idle  wakeups  here  cpu ms  wait ms
//     0    2    2    1      0    yes[118]  131    4     52       3     99.8    104
//     programs simple_enqueue 52 x 2.31 us, simple_dispatch 60 x 1.02 us
//     CPU  domain  CPUs  every  failed  newidle us  balanced
//     0    MC      2     4      0       3.10        12 (1 failed)
//
// run: tasks on the runqueue, scx and cfs: those of a class, local: on the local DSQ, calls: of schedule(),
// idle: those that left the CPU idle, here: wakeups by the CPU itself, wait: of tasks for it; every: jiffies.
// "asked" is an idle CPU that others have asked to reschedule, or for something else, and that has not done
// it. Counters are told as what they grew by since the sample before, in the first one since boot. The
// columns of what a kernel does not have are empty; domains are told when they have changed. "left out: ..."
// says what is not there, and why.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "protocol/sample.capnp.h"

namespace ktstr {

class SampleText {
 public:
  // Lines, the last one without a newline.
  std::string describe(rpc::Sample::Reader sample);

 private:
  using Counters = std::vector<uint64_t>;
  // What they grew by; all of them if nothing was known, or one of them went back.
  static Counters grown(std::map<uint32_t, Counters>& known, uint32_t key, Counters now);
  std::vector<std::string> cpuRow(rpc::CpuSample::Reader cpu);
  std::string programs(rpc::Sample::Reader sample);

  std::optional<uint64_t> before_;  // sequence of the last one
  std::map<uint32_t, Counters> cpus_, programs_;
};

}  // namespace ktstr
