#include "orchestrator/live_judgement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orchestrator/monitor_testing.h"

namespace ktstr {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Live : public ::testing::Test {
 protected:
  template <typename Spoil>
  void samples(int count, Spoil spoil) {
    for (int i = 0; i < count; ++i) {
      machine_.sample(spoil);
      live_.look(machine_.analysis().soFar());
    }
  }
  static Limits limits() {
    Limits limits;
    limits.maxImbalanceRatio.set = 3;
    return limits;
  }
  static void deep(rpc::Sample::Builder sample) { sample.getCpus()[1].setLocalDsqDepth(60); }
  static void uneven(rpc::Sample::Builder sample) { sample.getCpus()[1].setNrRunning(20); }

  std::vector<std::string> told_;
  Machine machine_{limits()};
  LiveJudgement live_{limits(), true, [this](const std::string& finding) { told_.push_back(finding); }};
};

TEST_F(Live, AViolationIsToldOnceWhenItHasLasted) {
  samples(4, deep);
  EXPECT_THAT(told_, IsEmpty());
  samples(1, deep);
  EXPECT_THAT(told_, ElementsAre("local-dsq-depth"));
  samples(1, [](auto) {});
  samples(9, deep);
  EXPECT_THAT(told_, ElementsAre("local-dsq-depth")) << "once for a run";
  samples(5, uneven);
  EXPECT_THAT(told_, ElementsAre("local-dsq-depth", "imbalance"));
}

TEST_F(Live, WhatDoesNotLastIsNotTold) {
  for (int i = 0; i < 5; ++i) {
    samples(4, uneven);
    samples(1, [](auto) {});
  }
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(Live, OutsideTheScenarioNothingIs) {
  machine_.analysis().endScenario();
  samples(20, uneven);
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(Live, AStallThatIsTheHostsDoingIsNone) {
  uint64_t clock = 0;
  const auto stand = [&](rpc::Sample::Builder sample) {
    if (clock == 0) clock = sample.getCpus()[1].getClock();
    sample.getCpus()[1].setClock(clock);
  };
  machine_.feed(90, 1);
  samples(10, stand);
  EXPECT_THAT(told_, IsEmpty()) << "vCPU 1 had 1 % of a host CPU";
  machine_.feed(90, 90);
  samples(10, stand);
  EXPECT_THAT(told_, ElementsAre("scheduler-stalled"));
}

TEST_F(Live, SamplesThatCannotBeTrueProveNothing) {
  samples(10, [](rpc::Sample::Builder sample) { sample.getCpus()[0].setLocalDsqDepth(1'000'000); });
  samples(10, uneven);
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(Live, DsqsAreJudgedOfASchedulerUnderTestAlone) {
  samples(5, deep);
  EXPECT_THAT(sustainedViolations(limits(), true, machine_.evidence()), ElementsAre("local-dsq-depth"));
  EXPECT_THAT(sustainedViolations(limits(), false, machine_.evidence()), IsEmpty());
}

}  // namespace
}  // namespace ktstr
