#include "orchestrator/findings.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ktstr {
namespace {

TEST(Findings, outcomesAreOrdered) {
  const Outcome order[] = {Outcome::PASS, Outcome::SKIP, Outcome::INCONCLUSIVE, Outcome::INFRASTRUCTURE,
                           Outcome::FAIL};
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 5; ++j) EXPECT_EQ(worse(order[i], order[j]), order[std::max(i, j)]);
  }
}

TEST(Findings, exitCodesAreTheTable) {
  EXPECT_EQ(static_cast<int>(exitCodeOf(Outcome::PASS)), 0);
  EXPECT_EQ(static_cast<int>(exitCodeOf(Outcome::FAIL)), 1);
  EXPECT_EQ(static_cast<int>(exitCodeOf(Outcome::INCONCLUSIVE)), 3);
  EXPECT_EQ(static_cast<int>(exitCodeOf(Outcome::INFRASTRUCTURE)), 4);
  EXPECT_EQ(static_cast<int>(exitCodeOf(Outcome::SKIP)), 5);
  for (const Outcome outcome :
       {Outcome::PASS, Outcome::FAIL, Outcome::INCONCLUSIVE, Outcome::INFRASTRUCTURE, Outcome::SKIP}) {
    EXPECT_EQ(outcomeOf(exitCodeOf(outcome)), outcome);
  }
  EXPECT_EQ(outcomeOf(ExitCode::usage), Outcome::INFRASTRUCTURE);
}

TEST(Findings, sortsWorstFirstAndKeepsOrder) {
  Findings findings;
  findings.add({"remark", Outcome::PASS, "", ""});
  findings.add({"lost", Outcome::INCONCLUSIVE, "", ""});
  findings.add({"first", Outcome::FAIL, "", ""});
  findings.add({"second", Outcome::FAIL, "", ""});
  EXPECT_EQ(findings.outcome(), Outcome::FAIL);
  std::string order;
  for (const Finding& finding : findings.sorted()) order += finding.name + " ";
  EXPECT_EQ(order, "first second lost remark ");
}

TEST(Findings, remarksAreNoReason) {
  Findings findings;
  EXPECT_FALSE(findings.any());
  findings.add({"remark", Outcome::PASS, "", ""});
  EXPECT_FALSE(findings.any());
  EXPECT_TRUE(findings.has("remark"));
  EXPECT_FALSE(findings.has("other"));
}

TEST(Findings, countsWhatItDoesNotKeep) {
  Findings findings;
  for (int i = 0; i < 20; ++i) findings.add({"same", Outcome::INCONCLUSIVE, "", ""});
  EXPECT_NE(findings.add({"same", Outcome::FAIL, "", ""}), nullptr);  // a worse one is never lost
  const auto sorted = findings.sorted();
  ASSERT_EQ(sorted.size(), Findings::maxPerName + 1);
  EXPECT_EQ(sorted.front().outcome, Outcome::FAIL);
  EXPECT_EQ(sorted.back().evidence, "and 12 more findings of this name");
}

TEST(Findings, areWrittenWhole) {
  Judgement judgement;
  judgement.outcome = Outcome::FAIL;
  judgement.exitCode = ExitCode::fail;
  Finding finding{"worker-gap", Outcome::FAIL, "message", "hint", "main", "a", "spinWait[0]", 3,
                  2345.5,       2000,          "line"};
  judgement.findings = {finding, {"other", Outcome::PASS, "m", "h"}};
  capnp::MallocMessageBuilder message;
  auto verdict = message.initRoot<rpc::Verdict>();
  writeVerdict(judgement, verdict);
  EXPECT_EQ(verdict.getOutcome(), Outcome::FAIL);
  EXPECT_EQ(verdict.getExitCode(), 1);
  const auto out = verdict.asReader().getFindings()[0];
  EXPECT_EQ(out.getName(), "worker-gap");
  EXPECT_EQ(out.getMessage(), "message");
  EXPECT_EQ(out.getHint(), "hint");
  EXPECT_EQ(out.getStep(), "main");
  EXPECT_EQ(out.getCgroup(), "a");
  EXPECT_EQ(out.getWorker(), "spinWait[0]");
  EXPECT_EQ(out.getCpu(), 3);
  EXPECT_EQ(out.getValue(), 2345.5);
  EXPECT_EQ(out.getLimit(), 2000);
  EXPECT_EQ(out.getEvidence(), "line");
  EXPECT_TRUE(std::isnan(verdict.asReader().getFindings()[1].getValue()));
}

}  // namespace
}  // namespace ktstr
