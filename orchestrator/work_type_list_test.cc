#include "orchestrator/work_type_list.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

// What authors rely on without saying it: every type's parameters with their defaults, and its group by them.
constexpr const char* defaults = R"({
  "spinWait": {"spinIters": 1024},
  "yieldHeavy": {},
  "bursty": {"burstUs": 50000, "sleepUs": 100000},
  "futexPingPong": {"spinIters": 1024},
  "pipeIo": {"burstIters": 1024},
  "mixed": {"spinIters": 1024},
  "aluHot": {"width": "widest"},
  "smtSiblingSpin": {"spinIters": 1024},
  "ipcVariance": {"hotIters": 100000, "coldIters": 1024, "periodIters": 64},
  "ioSyncWrite": {"deviceUs": 100},
  "ioRandRead": {"deviceUs": 100},
  "ioConvoy": {"deviceUs": 100},
  "idleChurn": {"burstUs": 1000, "sleepUs": 5000, "preciseTiming": false},
  "futexFanOut": {"fanOut": 4, "spinIters": 1024},
  "cachePressure": {"sizeKib": 32, "stride": 64},
  "cacheYield": {"sizeKib": 32, "stride": 64},
  "cachePipe": {"sizeKib": 32, "burstIters": 1024},
  "sequence": {"phases": []},
  "forkExit": {},
  "niceSweep": {},
  "affinityChurn": {"spinIters": 1024},
  "policyChurn": {"spinIters": 1024},
  "numaMigrationChurn": {"periodMs": 100},
  "cgroupChurn": {"groups": 2, "cycleMs": 100},
  "fanOutCompute": {"fanOut": 4, "cacheFootprintKib": 256, "operations": 5, "sleepUs": 100},
  "asymmetricWaker": {"wakerClass": "cfs", "wakeeClass": "cfs", "burstIters": 1024},
  "wakeChain": {"depth": 4, "wake": "pipe", "workPerHopUs": 100},
  "epollStorm": {"producers": 1, "consumers": 2, "eventsPerBurst": 32},
  "thunderingHerd": {"waiters": 7, "batches": 1000, "interBatchMs": 5},
  "pageFaultChurn": {"regionKib": 4096, "touchesPerCycle": 256, "spinIters": 64},
  "numaWorkingSetSweep": {"regionKib": 4096, "sweepPeriodMs": 100, "targetNodes": []},
  "mutexContention": {"contenders": 4, "holdIters": 256, "workIters": 1024},
  "priorityInversion": {"high": 1, "medium": 1, "low": 1, "holdIters": 4096, "workIters": 1024, "piMode": "plain"},
  "producerConsumerImbalance": {"producers": 2, "consumers": 1, "produceRateHz": 1000, "consumeIters": 4096,
                                "queueDepthTarget": 1024},
  "signalStorm": {"signalsPerIter": 16, "workIters": 1024},
  "preemptStorm": {"cfsWorkers": 2, "rtBurstIters": 1024, "rtSleepUs": 1000},
  "rtStarvation": {"rtWorkers": 1, "cfsWorkers": 1, "rtPriority": 50, "burstIters": 1024},
  "custom": {"name": "", "program": ""}
})";
constexpr const char* groups = R"({
  "futexPingPong": 2, "pipeIo": 2, "smtSiblingSpin": 2, "futexFanOut": 5, "cachePipe": 2, "fanOutCompute": 5,
  "asymmetricWaker": 2, "wakeChain": 4, "epollStorm": 3, "thunderingHerd": 8, "mutexContention": 4,
  "priorityInversion": 3, "producerConsumerImbalance": 3, "signalStorm": 2, "preemptStorm": 3, "rtStarvation": 2
})";

TEST(WorkTypeList, hasEveryTypeWithItsDefaultsAndGroup) {
  const auto parameters = nlohmann::json::parse(defaults), sizes = nlohmann::json::parse(groups);
  std::istringstream lines(workTypeJsonLines());
  size_t count = 0;
  for (std::string line; std::getline(lines, line); count++) {
    const auto type = nlohmann::json::parse(line);
    const std::string name = type["name"];
    EXPECT_THAT(workTypeTable(), HasSubstr(name));
    ASSERT_TRUE(parameters.contains(name)) << name;
    EXPECT_EQ(type["parameters"], parameters[name]) << name;
    EXPECT_EQ(type["groupSize"], sizes.value(name, 1)) << name;
  }
  EXPECT_EQ(count, parameters.size());
}

TEST(WorkTypeList, isATableForPeople) {
  EXPECT_THAT(workTypeTable(), HasSubstr("futexFanOut  (groups of 5)\n"));
  EXPECT_THAT(workTypeTable(), HasSubstr("fanOut=4 spinIters=1024\n"));
  EXPECT_THAT(workTypeTable(), HasSubstr("wake latency positions 1..fanOut\n"));
}

}  // namespace
}  // namespace ktstr
