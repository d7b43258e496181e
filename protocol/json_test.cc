#include "protocol/json.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "protocol/error.h"
#include "protocol/json_string.h"
#include "protocol/machine.capnp.h"
#include "protocol/record.capnp.h"
#include "protocol/report.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

std::string reencode(std::string_view json, JsonStyle style = {}) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  fromJson(json, scenario);
  return toJson(scenario.asReader(), style);
}

// What decoding `json` as a T fails with: "message | hint".
template <typename T = rpc::Scenario>
std::string refusal(std::string_view json) {
  capnp::MallocMessageBuilder message;
  try {
    fromJson(json, message.initRoot<T>());
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "json-invalid");
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.message() + " | " + error.hint();
  }
  return "accepted";
}

TEST(Json, ReadsAWholeScenario) {
  const std::string json =
      R"({"name":"mixed","durationMs":1500,"steps":[{"name":"s","cgroups":[{"name":"a","cpuset":{"llc":0},)"
      R"("limits":{"cpuWeight":100,"cpuQuotaUs":0,"cpuPeriodUs":100000,)"
      R"("memoryMaxBytes":0,"memoryHighBytes":0,"memoryLowBytes":0,"memorySwapMaxBytes":0,"ioWeight":0,"pidsMax":0},)"
      R"("work":[{"workers":2,"type":{"bursty":{"burstUs":10,"sleepUs":20}},"nice":-5,)"
      R"("affinity":{"exact":[0,3]},"cloneMode":"fork","policy":{"fifo":50},"uid":0,"gid":0,"numaNode":-1},)"
      R"({"workers":1,"type":{"yieldHeavy":null},"nice":0,"cloneMode":"fork","uid":0,"gid":0,"numaNode":-1}],)"
      R"("nice":0,"uid":0,"gid":0,"numaNode":-1},)"
      R"({"name":"b","cpuset":{"disjoint":{"index":1,"of":2}},"nice":3,"uid":0,"gid":0,"numaNode":-1}],)"
      R"("ops":[{"setCpuset":{"cgroup":"a","cpuset":{"exact":[1,2]}}}],"hold":{"fraction":0.5}}],)"
      R"("assertions":{"notStarved":"yes","isolation":"unset","maxGapMs":250.0,"failOnStall":"no",)"
      R"("sustainedSamples":0},"snapshots":0})";
  EXPECT_EQ(reencode(json), json);
}

TEST(Json, KeepsDefaultsOfWhatIsNotGiven) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  fromJson(R"({"steps": [{"hold": {}}], "assertions": {}})", scenario);
  EXPECT_EQ(scenario.getDurationMs(), 2000u);
  EXPECT_EQ(scenario.getSteps()[0].getHold().getFraction(), 1.0);
  EXPECT_TRUE(std::isnan(scenario.getAssertions().getMaxGapMs()));
}

TEST(Json, OmitsWhatIsEmptyUnlessFull) {
  EXPECT_EQ(reencode("{}"), R"({"durationMs":2000,"snapshots":0})");
  const std::string full = reencode(R"({"steps":[{"cgroups":[{}]}]})", {.full = true});
  EXPECT_THAT(full, HasSubstr(R"("description":"")"));
  EXPECT_THAT(full, HasSubstr(R"("cpuset":{"inherit":null})"));
  EXPECT_THAT(full, HasSubstr(R"("work":[])"));
  EXPECT_THAT(full, HasSubstr(R"("maxGapMs":null)"));
  EXPECT_EQ(reencode(full, {.full = true}), full);
}

TEST(Json, IndentsIfPretty) {
  EXPECT_EQ(reencode("{}", {.pretty = true}), "{\n  \"durationMs\": 2000,\n  \"snapshots\": 0\n}");
}

TEST(Json, WritesTheChosenUnionMemberEvenIfEmpty) {
  capnp::MallocMessageBuilder message;
  auto event = message.initRoot<rpc::GuestEvent>();
  event.setScenarioStarted();
  EXPECT_THAT(toJson(event.asReader()), HasSubstr(R"("scenarioStarted":null)"));
  event.setSchedulerLog("");
  EXPECT_THAT(toJson(event.asReader()), HasSubstr(R"("schedulerLog":"")"));
}

TEST(Json, KeepsIntegersOf64BitsExact) {
  capnp::MallocMessageBuilder message;
  auto range = message.initRoot<rpc::GpaRange>();
  fromJson(R"({"gpa":18446744073709551615,"size":9007199254740993})", range);
  EXPECT_EQ(range.getGpa(), UINT64_MAX);
  EXPECT_EQ(toJson(range.asReader()), R"({"gpa":18446744073709551615,"size":9007199254740993})");
}

TEST(Json, RefusesNumbersThatDoNotFit) {
  EXPECT_EQ(refusal(R"({"steps":[{"cgroups":[{},{"limits":{"cpuWeight":"two"}}]}]})"),
            "steps[0].cgroups[1].limits.cpuWeight: expected a number from 0 to 4294967295, got \"two\" | ");
  for (const char* number : {"4294967296", "-1", "1.5", "1e20", "18446744073709551616", "true", "null"}) {
    EXPECT_THAT(refusal(std::string(R"({"durationMs":)") + number + "}"),
                HasSubstr("durationMs: expected a number"))
        << number;
  }
  EXPECT_THAT(refusal(R"({"steps":[{"cgroups":[{"work":[{"nice":128}]}]}]})"), HasSubstr("from -128 to 127"));
  EXPECT_THAT(refusal(R"({"assertions":{"maxGapMs":"1"}})"),
              HasSubstr("assertions.maxGapMs: expected a number"));
  EXPECT_THAT(refusal(R"({"assertions":{"maxGapMs":1e999}})"), HasSubstr("overflow"));
  EXPECT_EQ(refusal(R"({"durationMs":1e3})"), "accepted");
  EXPECT_EQ(refusal(R"({"steps":[{"cgroups":[{"work":[{"nice":-128}]}]}]})"), "accepted");
}

TEST(Json, NamesTheNearestKnownName) {
  EXPECT_EQ(refusal(R"({"stpes":[]})"),
            "unknown field \"stpes\" | did you mean \"steps\"? known: name, description, durationMs, steps, "
            "assertions, backdrop, schedulers, schedulerAssertions, snapshots");
  EXPECT_EQ(
      refusal(R"({"assertions":{"isolation":"ys"}})"),
      "assertions.isolation: expected a name, got \"ys\" | did you mean \"yes\"? known: unset, yes, no");
  EXPECT_THAT(refusal(R"({"steps":[{"zzzzzzzzzzz":1}]})"),
              HasSubstr("steps[0]: unknown field \"zzzzzzzzzzz\" | known"));
}

TEST(Json, RefusesWrongTypes) {
  EXPECT_THAT(refusal("[]"), HasSubstr("expected an object, got a list"));
  EXPECT_THAT(refusal(R"({"steps":{}})"), HasSubstr("steps: expected a list, got an object"));
  EXPECT_THAT(refusal(R"({"name":1})"), HasSubstr("name: expected text, got 1"));
  EXPECT_THAT(refusal(R"({"steps":[{"cgroups":[{"work":[{"type":{"yieldHeavy":1}}]}]}]})"),
              HasSubstr("type.yieldHeavy: expected null, got 1"));
  EXPECT_THAT(refusal<rpc::Vmm::BootResults>(R"({"machine":{}})"), HasSubstr("machine: a capability"));
  EXPECT_THAT(refusal<rpc::SchedulerOrders>(R"({"nothing":1})"), HasSubstr("unknown field"));
}

TEST(Json, RefusesTwoMembersOfOneUnionAndRepeatedFields) {
  EXPECT_THAT(refusal(R"({"steps":[{"hold":{"fraction":1,"fixedMs":2}}]})"),
              HasSubstr("steps[0].hold: both \"fraction\" and \"fixedMs\" given"));
  EXPECT_THAT(refusal(R"({"steps":[{},{"name":"a","name":"b"}]})"), HasSubstr("steps[1].name: given twice"));
}

TEST(Json, RefusesBrokenText) {
  EXPECT_THAT(refusal("{\"name\":\"\xff\"}"), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal(R"({"name":"a\u0000b"})"), HasSubstr("name: expected text without NUL"));
  EXPECT_THAT(refusal(R"({"name")"), HasSubstr("line 1, column"));
  EXPECT_THAT(refusal(""), HasSubstr("parse error"));
  EXPECT_THAT(refusal("{} x"), HasSubstr("parse error"));
}

TEST(Json, BoundsDepthAndSize) {
  EXPECT_THAT(refusal(std::string(100000, '[')), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(refusal(std::string((size_t{16} << 20) + 1, ' ')), HasSubstr("at most 16777216"));
}

TEST(Json, ReplacesBadBytesAndNonNumbersOnTheWayOut) {
  capnp::MallocMessageBuilder message;
  auto finding = message.initRoot<rpc::Finding>();
  finding.setMessage("a\xff\"\n");
  finding.setLimit(std::numeric_limits<double>::infinity());
  const std::string json = toJson(finding.asReader());
  EXPECT_THAT(json, HasSubstr("\"message\":\"a\xef\xbf\xbd\\\"\\n\""));
  EXPECT_THAT(json, Not(HasSubstr("limit")));
  EXPECT_THAT(json, Not(HasSubstr("value")));
}

TEST(Json, WritesAnEnumOfANewerSchemaAsItsNumber) {
  capnp::MallocMessageBuilder message;
  auto verdict = message.initRoot<rpc::Verdict>();
  verdict.setOutcome(static_cast<rpc::Outcome>(77));
  EXPECT_THAT(toJson(verdict.asReader()), HasSubstr("\"outcome\":77"));
}

TEST(Json, WritesDataAsBase64) {
  capnp::MallocMessageBuilder message;
  auto write = message.initRoot<rpc::WriteGate::WriteParams>();
  fromJson(R"({"gpa":4096,"bytes":"AAEC/w=="})", write);
  ASSERT_EQ(write.getBytes().size(), 4u);
  EXPECT_EQ(write.getBytes()[3], 0xff);
  EXPECT_EQ(toJson(write.asReader()), R"({"gpa":4096,"bytes":"AAEC/w=="})");
  EXPECT_THAT(refusal<rpc::WriteGate::WriteParams>(R"({"bytes":"%"})"), HasSubstr("bytes: expected base64"));
}

TEST(Json, ReportsAMalformedMessage) {
  // A root without data, whose first pointer, the name, leads far outside of its segment.
  alignas(8) const uint64_t words[] = {0x0001000000000000, 0x0000000afffffff1};
  const kj::ArrayPtr<const capnp::word> segment(reinterpret_cast<const capnp::word*>(words), 2);
  capnp::SegmentArrayMessageReader message(kj::arrayPtr(&segment, 1));
  try {
    toJson(message.getRoot<rpc::Scenario>());
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "message-invalid");
  }
}

TEST(Json, QuotesStrings) {
  EXPECT_EQ(jsonString("a \"b\"\n\x01"), R"("a \"b\"\n\u0001")");
}

}  // namespace
}  // namespace ktstr
