#include "orchestrator/assertions.h"

#include <capnp/dynamic.h>
#include <capnp/message.h>

#include <cmath>
#include <limits>
#include <memory>
#include <set>

#include "gmock/gmock.h"
#include "guest/scenario/work_types.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

class Assertions : public ::testing::Test {
 protected:
  rpc::Scenario::Builder scenario() { return scenario_; }
  rpc::Assertions::Builder test() { return scenario_.getAssertions(); }
  rpc::Assertions::Builder scheduler() { return scenario_.getSchedulerAssertions(); }
  Limits merged() { return mergeAssertions(scenario_.asReader()); }

  // "name: message", or "" for what is taken.
  std::string verdict(std::optional<bool> underScheduler = true, bool baseline = false) {
    try {
      checkAssertions(scenario_.asReader(), underScheduler, baseline);
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return text(error.name(), ": ", error.message());
    }
  }

 private:
  std::unique_ptr<capnp::MallocMessageBuilder> message_ = std::make_unique<capnp::MallocMessageBuilder>();
  rpc::Scenario::Builder scenario_ = message_->initRoot<rpc::Scenario>();
};

// Sets one by its name in the schema; a choice for any number.
void set(rpc::Assertions::Builder to, const std::string& name, double value) {
  const std::string inner = name.starts_with("relative.") ? name.substr(9) : "";
  capnp::DynamicStruct::Builder dynamic = to;
  if (!inner.empty()) dynamic = to.getRelative();
  const char* field = inner.empty() ? name.c_str() : inner.c_str();
  const auto type = dynamic.getSchema().getFieldByName(field).getType();
  if (type.isEnum()) {
    dynamic.set(field, value > 0 ? "yes" : "no");
  } else {
    dynamic.set(field, value);
  }
}

TEST_F(Assertions, theTableHasEveryFieldOfTheSchemaOnce) {
  std::set<std::string> inTable, inSchema;
  for (const Assertion& row : assertionTable()) {
    EXPECT_TRUE(inTable.insert(row.name).second) << row.name;
    EXPECT_EQ(&assertionOf(row.limit), &row);
  }
  for (const auto field : capnp::Schema::from<rpc::Assertions>().getFields()) {
    if (field.getProto().getName() != "relative") inSchema.insert(field.getProto().getName());
  }
  for (const auto field : capnp::Schema::from<rpc::Relative>().getFields())
    inSchema.insert(text("relative.", field.getProto().getName().cStr()));
  EXPECT_EQ(inTable, inSchema);
}

TEST_F(Assertions, emptyOnesAreTheDefaults) {
  const Limits limits = merged(), defaults;
  for (const Assertion& row : assertionTable()) {
    EXPECT_EQ((limits.*row.limit).set, (defaults.*row.limit).set) << row.name;
    EXPECT_EQ((limits.*row.limit).origin, Origin::DEFAULT) << row.name;
    EXPECT_FALSE((limits.*row.limit).asked()) << row.name;
  }
  EXPECT_TRUE(limits.notStarved.yes() && limits.isolation.yes() && limits.failOnStall.yes());
  EXPECT_EQ(limits.maxSpreadPct.value(), 35);
  EXPECT_EQ(limits.maxGapMs.value(), 2000);
  EXPECT_EQ(limits.maxLocalDsqDepth.value(), 50);
  EXPECT_EQ(limits.sustainedSamples.value(), 5);
  EXPECT_FALSE(limits.anyRelative());
}

TEST_F(Assertions, eachIsTakenFromTheTestThenFromTheScheduler) {
  for (const Assertion& row : assertionTable()) {
    capnp::MallocMessageBuilder message;
    auto scenario = message.initRoot<rpc::Scenario>();
    set(scenario.getSchedulerAssertions(), row.name, 1);
    Limit limit = mergeAssertions(scenario.asReader()).*row.limit;
    EXPECT_EQ(limit.set, 1) << row.name;
    EXPECT_EQ(limit.origin, Origin::SCHEDULER) << row.name;
    const bool choice = std::string_view(row.unit) == "choice";
    set(scenario.getAssertions(), row.name, choice ? 0 : 2);
    limit = mergeAssertions(scenario.asReader()).*row.limit;
    EXPECT_EQ(limit.set, choice ? 0 : 2) << row.name;
    EXPECT_EQ(limit.origin, Origin::TEST) << row.name;
  }
}

TEST_F(Assertions, thoseOfTheTestLeaveTheOthersOfTheScheduler) {
  scheduler().setMaxGapMs(50);
  scheduler().setMaxMigrationRatio(0.5);
  test().setMaxGapMs(70);
  const Limits limits = merged();
  EXPECT_EQ(describeLimit(limits, &Limits::maxGapMs), "limit 70 ms set by the test");
  EXPECT_EQ(describeLimit(limits, &Limits::maxMigrationRatio), "limit 0.5 set by the scheduler");
  EXPECT_EQ(describeLimit(limits, &Limits::maxSpreadPct), "limit 35 points by default");
}

TEST_F(Assertions, relativeOnesOfEitherAskForASecondPass) {
  EXPECT_FALSE(hasRelative(scenario().asReader()));
  scheduler().initRelative().setMaxGapRatio(2);
  EXPECT_TRUE(hasRelative(scenario().asReader()));
}

TEST_F(Assertions, areAllInTheRecord) {
  test().setMaxThroughputCv(0.25);
  scheduler().setFailOnStall(rpc::Choice::NO);
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  writeLimits(merged(), record);
  ASSERT_EQ(record.getLimits().size(), assertionTable().size());
  for (const auto limit : record.asReader().getLimits()) {
    const std::string name = limit.getName();
    if (name == "maxThroughputCv") {
      EXPECT_EQ(limit.getValue(), 0.25);
      EXPECT_EQ(limit.getOrigin(), Origin::TEST);
    } else if (name == "failOnStall") {
      EXPECT_EQ(limit.getValue(), 0);
      EXPECT_EQ(limit.getOrigin(), Origin::SCHEDULER);
    } else {
      EXPECT_EQ(limit.getOrigin(), Origin::DEFAULT) << name;
      if (name == "maxWakeLatencyCv") {
        EXPECT_TRUE(std::isnan(limit.getValue()));
      }
    }
  }
}

TEST_F(Assertions, whatNoFigureCanBeIsRefusedByName) {
  EXPECT_EQ(verdict(), "");
  for (const Assertion& row : assertionTable()) {
    if (std::string_view(row.unit) == "choice" || row.limit == &Limits::sustainedSamples) continue;
    capnp::MallocMessageBuilder message;
    auto scenario = message.initRoot<rpc::Scenario>();
    const double infinity = std::numeric_limits<double>::infinity();
    for (const double absurd : {-1.0, infinity, -infinity, std::nextafter(row.most, infinity)}) {
      set(scenario.getAssertions(), row.name, absurd);
      try {
        checkAssertions(scenario.asReader(), true, false);
        ADD_FAILURE() << row.name << " " << absurd;
      } catch (const Error& error) {
        EXPECT_EQ(error.name(), "scenario-invalid");
        EXPECT_THAT(error.message(), StartsWith(text("assertions.", row.name, ": ")));
      }
    }
    set(scenario.getAssertions(), row.name, row.least);
    checkAssertions(scenario.asReader(), true, false);
  }
  scheduler().setMinPageLocality(1.5);
  EXPECT_EQ(verdict(),
            "scenario-invalid: schedulerAssertions.minPageLocality: 1.5 is not a finite number from 0 to 1");
  scheduler().setMinPageLocality(std::numeric_limits<double>::quiet_NaN());
  test().setMaxImbalanceRatio(0.5);
  EXPECT_EQ(verdict(), "scenario-invalid: assertions.maxImbalanceRatio: 0.5 is not a finite number from 1");
}

TEST_F(Assertions, aSecondPassNeedsASchedulerThatStays) {
  EXPECT_THAT(verdict(false, true), StartsWith("baseline-impossible: "));
  EXPECT_EQ(verdict(std::nullopt, true), "");
  test().initRelative().setMinThroughputRatio(0.9);
  EXPECT_EQ(verdict(), "");
  EXPECT_THAT(verdict(false), HasSubstr("no scheduler is under test"));
  auto ops = scenario().initSteps(1)[0].initOps(2);
  ops[0].setSleepMs(5);
  ops[1].setReplaceScheduler("other");
  EXPECT_THAT(verdict(), StartsWith("baseline-impossible: steps[0].ops[1]: "));
  ops[1].setDetachScheduler();
  EXPECT_THAT(verdict(), StartsWith("baseline-impossible: steps[0].ops[1]: "));
  ops[1].setAttachScheduler("");
  EXPECT_THAT(verdict(), StartsWith("baseline-impossible: steps[0].ops[1]: "));
  test().getRelative().setMinThroughputRatio(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(verdict(), "");
}

// README's table, row by row: name and default.
TEST_F(Assertions, areAllInTheReadme) {
  const std::string readme = readFile("README.md", size_t{1} << 20);
  const Limits defaults;
  for (const Assertion& row : assertionTable()) {
    const Limit& limit = defaults.*row.limit;
    const bool choice = std::string_view(row.unit) == "choice";
    const std::string value = !limit.set ? "none" : choice ? (limit.yes() ? "yes" : "no") : text(*limit.set);
    const std::string begins = text("| `", row.name, "` | ", value, " |");
    EXPECT_NE(readme.find(begins), std::string::npos) << begins;
  }
}

// What is judged of a type by default hangs on it. What real-time tasks keep from running is neither.
TEST_F(Assertions, everyWorkTypeButOneIsCpuBoundOrMeasuresWakeLatency) {
  capnp::MallocMessageBuilder message;
  capnp::DynamicStruct::Builder type = message.initRoot<rpc::WorkType>();
  std::vector<std::string> bound, neither;
  size_t types = 0;
  for (const auto field : type.getSchema().getUnionFields()) {
    const std::string name = field.getProto().getName().cStr();
    type.clear(field);
    const rpc::WorkType::Reader chosen = type.asReader().as<rpc::WorkType>();
    ASSERT_EQ(workTypeName(chosen), name);
    types++;
    EXPECT_FALSE(cpuBound(chosen) && measuresWakeLatency(chosen)) << name;
    if (cpuBound(chosen)) bound.push_back(name);
    if (!cpuBound(chosen) && !measuresWakeLatency(chosen)) neither.push_back(name);
  }
  EXPECT_EQ(types, 38U);
  EXPECT_THAT(bound, UnorderedElementsAre("spinWait", "yieldHeavy", "mixed", "aluHot", "smtSiblingSpin",
                                          "ipcVariance", "cachePressure", "cacheYield", "niceSweep",
                                          "affinityChurn", "policyChurn", "pageFaultChurn", "signalStorm"));
  EXPECT_THAT(neither, ElementsAre("rtStarvation"));
}

}  // namespace
}  // namespace ktstr
