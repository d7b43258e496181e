#include "guest/scenario/work_types.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/error.h"
#include "protocol/json.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const Topology shape = parseTopology("2n4l2c2t");

std::string verdict(const std::string& work, const Topology& topology = shape) {
  capnp::MallocMessageBuilder message;
  auto spec = message.initRoot<rpc::WorkSpec>();
  fromJson(work, spec);
  try {
    checkWorkType("w", spec, topology);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "scenario-invalid");
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.message();
  }
}

std::string ofType(const std::string& type, uint32_t workers = 1, const Topology& topology = shape) {
  return verdict(R"({"workers":)" + std::to_string(workers) + R"(,"type":)" + type + "}", topology);
}

// A message with a type's defaults, and what they lack to mean something.
std::string defaults(const capnp::StructSchema::Field& field) {
  const std::string name = field.getProto().getName().cStr();
  if (name == "sequence") return R"({"sequence":{"phases":[{"spinUs":10}]}})";
  if (name == "custom") return R"({"custom":{"name":"f"}})";
  return "{\"" + name + "\":" + (field.getProto().isGroup() ? "{}" : "null") + "}";
}

TEST(WorkTypesTest, EveryTypeHasARowAndDefaultsThatAreAccepted) {
  const auto fields = capnp::Schema::from<rpc::WorkType>().getUnionFields();
  EXPECT_EQ(fields.size(), 38U);
  for (const auto field : fields) {
    capnp::MallocMessageBuilder message;
    auto type = message.initRoot<rpc::WorkType>();
    fromJson(defaults(field), type);
    EXPECT_EQ(workTypeName(type), field.getProto().getName().cStr());
    EXPECT_NE(*workTypeInfo(type.which()).about, 0);
    const uint32_t size = workGroupSize(type);
    EXPECT_EQ(ofType(defaults(field), size * 3), "");
    if (size == 1) continue;
    EXPECT_THAT(ofType(defaults(field), size + 1), HasSubstr("works in groups of"));
  }
}

TEST(WorkTypesTest, GroupSizesFollowTheParameters) {
  EXPECT_EQ(ofType(R"({"futexFanOut":{"fanOut":6}})", 14), "");
  EXPECT_EQ(ofType(R"({"wakeChain":{"depth":3}})", 4),
            "w.workers: 4 workers; wakeChain works in groups of 3");
  EXPECT_EQ(ofType(R"({"epollStorm":{"producers":2,"consumers":3}})", 5), "");
  EXPECT_EQ(ofType(R"({"priorityInversion":{"high":2,"medium":0,"low":1}})", 3), "");
  EXPECT_THAT(ofType(R"({"rtStarvation":{"rtWorkers":4,"cfsWorkers":1}})", 4), HasSubstr("groups of 5"));
}

TEST(WorkTypesTest, RangesGoByNameAndUnit) {
  EXPECT_EQ(ofType(R"({"spinWait":{"spinIters":0}})"),
            "w.type.spinWait.spinIters: 0 is not from 1 to 4294967295");
  EXPECT_THAT(ofType(R"({"bursty":{"sleepUs":0}})"), StartsWith("w.type.bursty.sleepUs: 0 is not from 1"));
  EXPECT_EQ(ofType(R"({"fanOutCompute":{"sleepUs":0}})", 5), "");
  EXPECT_EQ(ofType(R"({"ioRandRead":{"deviceUs":0}})"), "");
  EXPECT_THAT(ofType(R"({"wakeChain":{"depth":1}})"), HasSubstr("depth: 1 is not from 2 to 1024"));
  EXPECT_THAT(ofType(R"({"numaMigrationChurn":{"periodMs":3600001}})"), HasSubstr("from 1 to 3600000"));
  EXPECT_THAT(ofType(R"({"rtStarvation":{"rtPriority":100}})", 2), HasSubstr("from 1 to 99"));
  EXPECT_THAT(ofType(R"({"pageFaultChurn":{"regionKib":2}})"), HasSubstr("from 4 to 1048576"));
  EXPECT_THAT(ofType(R"({"ipcVariance":{"hotIters":0}})"), HasSubstr("hotIters: 0"));
  EXPECT_THAT(ofType(R"({"sequence":{"phases":[{"spinUs":1},{"sleepUs":0}]}})"),
              StartsWith("w.type.sequence.phases[1].sleepUs: 0"));
  EXPECT_THAT(ofType(R"({"sequence":{"phases":[{"aluHot":{"forUs":0}}]}})"), HasSubstr("aluHot.forUs: 0"));
}

TEST(WorkTypesTest, RefusesWhatCannotMeanAnything) {
  EXPECT_THAT(ofType(R"({"cachePressure":{"sizeKib":4,"stride":4097}})"),
              HasSubstr("stride: 4097 bytes; longer than the buffer of 4 KiB"));
  EXPECT_THAT(ofType(R"({"numaWorkingSetSweep":{"targetNodes":[0,2]}})"), HasSubstr("node 2 does not exist"));
  EXPECT_THAT(ofType(R"({"sequence":{}})"), HasSubstr("phases: 0 phases"));
  EXPECT_THAT(ofType(R"({"custom":{}})"), HasSubstr("custom.name: \"\" is not"));
  EXPECT_THAT(ofType(R"({"custom":{"name":"a/b"}})"), HasSubstr("\"a/b\" is not"));
  EXPECT_THAT(ofType(R"({"smtSiblingSpin":{}})", 2, parseTopology("1n1l2c1t")), HasSubstr("no siblings"));
  EXPECT_THAT(ofType(R"({"numaMigrationChurn":{}})", 1, parseTopology("1l256M,0l256M,2c1t")),
              HasSubstr("one node with CPUs"));
  EXPECT_THAT(verdict(R"({"cloneMode":"thread","type":{"cgroupChurn":{}}})"), HasSubstr("w.cloneMode: "));
  EXPECT_EQ(verdict(R"({"cloneMode":"thread","type":{"forkExit":null}})"), "");
}

}  // namespace
}  // namespace ktstr
