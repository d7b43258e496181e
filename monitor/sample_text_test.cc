#include "monitor/sample_text.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace ktstr {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class SampleTextTest : public ::testing::Test {
 protected:
  SampleTextTest() {
    sample_.setSequence(11);
    sample_.setJiffies(4294942111);
    sample_.setCostNs(35'321);
    auto scx = sample_.initScx();
    scx.setPresent(true);
    scx.setState(rpc::ScxState::ENABLED);
    scx.setOpsName("simple");
    auto cpu = sample_.initCpus(2)[0];
    cpu.setValid(true);
    cpu.setNrRunning(2);
    cpu.setCurrPid(118);
    cpu.setCurrComm("yes");
    cpu.setScxValid(true);
    cpu.setScxNrRunning(2);
    cpu.setLocalDsqDepth(1);
    cpu.initCfs().setHNrQueued(3);
    auto stat = cpu.initSchedstat();
    stat.setSchedCount(1'234'567);
    stat.setSchedGoidle(12'345);
    stat.setTtwuCount(1000);
    stat.setTtwuLocal(100);
    stat.setCpuTimeNs(99'800'000);
    stat.setRunDelayNs(1'500'000);
    sample_.getCpus()[1].setCpu(1);
  }
  std::string text() { return shown_.describe(sample_.asReader()); }
  void expectColumns(const std::string& lines, size_t most) {
    std::istringstream in(lines);
    for (std::string line; std::getline(in, line);) EXPECT_LE(line.size(), most) << line;
  }

  std::unique_ptr<capnp::MallocMessageBuilder> message_ = std::make_unique<capnp::MallocMessageBuilder>();
  rpc::Sample::Builder sample_ = message_->initRoot<rpc::Sample>();
  SampleText shown_;
};

TEST_F(SampleTextTest, WhatIsLeftOutIsSaid) {
  EXPECT_THAT(text(), Not(HasSubstr("left out")));
  sample_.setIncomplete("progs: none were found");
  EXPECT_TRUE(text().ends_with("\n  left out: progs: none were found"));
}

TEST_F(SampleTextTest, AnIdleCpuThatIsAskedForSomething) {
  EXPECT_THAT(text(), Not(HasSubstr("asked")));
  sample_.getCpus()[0].setAsked(true);
  EXPECT_THAT(text(), HasSubstr("yes[118] asked  "));
}

TEST_F(SampleTextTest, FirstSinceBootThenSinceTheOneBefore) {
  EXPECT_EQ(text(),
            "#11 jiffies 4294942111, scx enabled simple, 35.3 us, counters since boot\n"
            "  CPU  run           scx  local  cfs  current   calls  idle   wakeups  here  cpu ms  wait ms\n"
            "  0    2             2    1      3    yes[118]  1235k  12.3k  1000     100   99.8    1.50\n"
            "  1    not readable");
  sample_.setSequence(12);
  auto stat = sample_.getCpus()[0].getSchedstat();
  stat.setSchedCount(1'234'567 + 131);
  stat.setTtwuCount(5);  // it cannot have gone back
  stat.setRunDelayNs(105'500'000);
  EXPECT_THAT(text(), HasSubstr("us, counters since #11\n"));
  stat.setSchedCount(1'234'567 + 131 + 7);
  EXPECT_THAT(text(), HasSubstr("yes[118]  7      0     0        0     0       0\n"));
}

TEST_F(SampleTextTest, WhatAKernelDoesNotHaveIsEmpty) {
  sample_.getCpus()[0].disownSchedstat();
  sample_.getCpus()[0].disownCfs();
  sample_.initScx();
  EXPECT_THAT(text(), HasSubstr("scx absent, 35.3 us"));
  EXPECT_THAT(text(), HasSubstr("  0    2             2    1           yes[118]\n"));
  EXPECT_THAT(text(), Not(HasSubstr("domain")));
  EXPECT_THAT(text(), Not(HasSubstr("programs")));
}

TEST_F(SampleTextTest, ProgramsThatRanWithinAHundredColumns) {
  auto programs = sample_.initProgs(12);
  for (unsigned i = 0; i < programs.size(); ++i) {
    programs[i].setId(i);
    programs[i].setName("simple_enqueue");
    programs[i].setRuns(i == 5 ? 0 : 1'000'000);
    programs[i].setNanos(2'310'000'000);
  }
  const auto first = text();
  EXPECT_THAT(first, HasSubstr("\n  programs simple_enqueue 1000k x 2.31 us, simple_enqueue"));
  expectColumns(first, 100);
  programs[3].setRuns(1'000'052);
  programs[3].setNanos(2'310'520'000);
  programs[3].setMisses(2);
  EXPECT_THAT(text(), HasSubstr("\n  programs simple_enqueue 52 x 10 us (2 missed)"));
  EXPECT_THAT(text(), Not(HasSubstr("programs"))) << "none has run since";
}

TEST_F(SampleTextTest, DomainsThatHaveChanged) {
  auto domain = sample_.getCpus()[0].initDomains(1)[0];
  domain.setName("MC");
  domain.setSpanWeight(2);
  domain.setBalanceInterval(4);
  domain.setMaxNewidleLbCostNs(3100);
  for (const auto list : {domain.initLbCount(3), domain.initLbFailed(3)}) {
    auto numbers = list;
    numbers.set(0, 5), numbers.set(2, 7);
  }
  EXPECT_THAT(text(), HasSubstr("\n  CPU  domain  CPUs  every  failed  newidle us  balanced\n"
                                "  0    MC      2     4      0       3.10        12 (12 failed)"));
}

}  // namespace
}  // namespace ktstr
