#include "guest/scenario/validate.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const Topology topology = parseTopology("2n4l2c2t");  // 16 CPUs, 4 per LLC, 8 per node

// Message of the refusal of a scenario, or "" if it is accepted.
std::string verdict(const std::string& json, const Topology& shape = topology) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  fromJson(json, scenario);
  try {
    validateScenario(scenario, shape);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "scenario-invalid");
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.message();
  }
}

std::string withStep(const std::string& step) {
  return R"({"name":"x","steps":[)" + step + "]}";
}

std::string withCgroups(const std::string& cgroups, const std::string& ops = "") {
  return withStep(R"({"cgroups":[)" + cgroups + R"(],"ops":[)" + ops + "]}");
}

const std::string spin = R"("work":[{"type":{"spinWait":{}}}])";

std::string withCpuset(const std::string& cpuset) {
  return withCgroups(R"({"name":"a","cpuset":)" + cpuset + "," + spin + "}");
}

std::string withWork(const std::string& work) {
  return withCgroups(R"({"name":"a","work":[)" + work + "]}");
}

TEST(ValidateTest, AcceptsTheShippedScenarios) {
  unsigned count = 0;
  for (const auto& file : std::filesystem::directory_iterator("tests/scenarios")) {
    if (file.path().extension() != ".json") continue;
    EXPECT_EQ(verdict(readFile(file.path()), parseTopology("1n2l2c2t")), "") << file.path();
    count++;
  }
  EXPECT_GE(count, 3U);
}

TEST(ValidateTest, SaysThePlaceAndWhatThereIs) {
  EXPECT_EQ(
      verdict(withCgroups(R"({"name":"a",)" + spin + R"(},{"name":"b","cpuset":{"llc":7},)" + spin + "}")),
      "steps[0].cgroups[1].cpuset.llc: LLC 7 does not exist; the topology 2n4l2c2t has LLCs 0-3");
}

TEST(ValidateTest, RefusesBadScenarioFields) {
  EXPECT_THAT(verdict(R"({"name":"","steps":[]})"), StartsWith("name: "));
  EXPECT_THAT(verdict(R"({"name":"Big","steps":[]})"), StartsWith("name: "));
  EXPECT_THAT(verdict(R"({"name":")" + std::string(65, 'a') + R"("})"), StartsWith("name: "));
  EXPECT_THAT(verdict(R"({"name":"x","durationMs":0})"), StartsWith("durationMs: 0 ms"));
  EXPECT_THAT(verdict(R"({"name":"x","durationMs":3600001})"), StartsWith("durationMs: "));
  EXPECT_THAT(verdict(R"({"name":"x"})"), StartsWith("steps: no step"));
  EXPECT_THAT(verdict(withStep("{}")), StartsWith("steps: no step has a worker"));
}

TEST(ValidateTest, RefusesBadHolds) {
  const auto held = [](const std::string& hold) {
    return verdict(withStep(R"({"cgroups":[{"name":"a",)" + spin + R"(}],"hold":)" + hold + "}"));
  };
  EXPECT_EQ(held(R"({"fraction":0.5})"), "");
  EXPECT_THAT(held(R"({"fraction":0})"), StartsWith("steps[0].hold.fraction: "));
  EXPECT_THAT(held(R"({"fraction":-1})"), StartsWith("steps[0].hold.fraction: "));
  EXPECT_THAT(held(R"({"fraction":1e300})"), StartsWith("steps[0].hold.fraction: "));
  EXPECT_THAT(held(R"({"fixedMs":0})"), StartsWith("steps[0].hold.fixedMs: 0 ms"));
}

TEST(ValidateTest, RefusesBadWork) {
  EXPECT_THAT(verdict(withWork("")), StartsWith("steps[0].cgroups[0].work: no work"));
  EXPECT_THAT(verdict(withWork(R"({"workers":0,"type":{"spinWait":{}}})")),
              StartsWith("steps[0].cgroups[0].work[0].workers: 0 workers"));
  EXPECT_THAT(verdict(withWork(R"({"workers":3,"type":{"pipeIo":{}}})")),
              HasSubstr("3 workers; pipeIo works in groups of 2"));
  EXPECT_THAT(verdict(withWork(R"({"workers":5000,"type":{"spinWait":{}}})")), HasSubstr("at most 4096"));
  EXPECT_THAT(verdict(withWork(R"({"name":"p","workers":3000,"type":{"spinWait":{}}},
                                  {"name":"q","workers":3000,"type":{"spinWait":{}}})")),
              StartsWith("steps[0]: 6000 workers"));
  EXPECT_THAT(verdict(withWork(R"({"type":{"spinWait":{"spinIters":0}}})")),
              HasSubstr("spinWait.spinIters: 0"));
  EXPECT_THAT(verdict(withWork(R"({"type":{"bursty":{"sleepUs":0}}})")), HasSubstr("bursty.sleepUs: 0"));
  EXPECT_THAT(verdict(withWork(R"({"nice":20,"type":{"spinWait":{}}})")), HasSubstr("work[0].nice: 20"));
  EXPECT_THAT(verdict(withWork(R"({"name":"a b","type":{"spinWait":{}}})")), HasSubstr("work[0].name: "));
  EXPECT_THAT(verdict(withWork(R"({"type":{"spinWait":{}}},{"type":{"spinWait":{}}})")),
              HasSubstr("two work groups are called \"spinWait\""));
  EXPECT_THAT(verdict(withWork(R"({"affinity":{"exact":[16]},"type":{"spinWait":{}}})")),
              HasSubstr("CPU 16 does not exist"));
  EXPECT_THAT(verdict(withCgroups(R"({"name":"a","cpuset":{"llc":0},
                                      "work":[{"affinity":{"exact":[3,4]},"type":{"spinWait":{}}}]})")),
              HasSubstr("CPUs 3-4 are not inside the cgroup's 0-3"));
}

TEST(ValidateTest, RefusesBadCgroups) {
  const auto named = [](const std::string& name) {
    return verdict(withCgroups(R"({"name":")" + name + R"(",)" + spin + "}"));
  };
  EXPECT_EQ(named("a/b.c-D_1"), "");
  for (const char* name : {"", "/a", "a/", "a//b", "..", "a/../b", "a b", "cgroup.procs", "cpu.weight"}) {
    EXPECT_THAT(named(name), StartsWith("steps[0].cgroups[0].name: ")) << name;
  }
  const std::string a = R"({"name":"a",)" + spin + "}", below = R"({"name":"a/b",)" + spin + "}";
  EXPECT_THAT(verdict(withCgroups(a + "," + a)),
              HasSubstr("cgroups[1].name: a cgroup \"a\" is there already"));
  EXPECT_THAT(verdict(withCgroups(a + "," + below)),
              HasSubstr("\"a\" has work and cannot have child cgroups"));
  EXPECT_THAT(verdict(withCgroups(below + "," + a)),
              HasSubstr("\"a\" has child cgroups and cannot have work"));
  EXPECT_THAT(verdict(withCgroups(R"({"name":"a","limits":{"cpuWeight":10001},)" + spin + "}")),
              HasSubstr("cpuWeight: 10001"));
}

TEST(ValidateTest, RefusesBadCpusets) {
  EXPECT_THAT(verdict(withCpuset(R"({"numa":2})")), HasSubstr("cpuset.numa: node 2 does not exist"));
  EXPECT_THAT(verdict(withCpuset(R"({"exact":[]})")), HasSubstr("cpuset.exact: names no CPU"));
  EXPECT_THAT(verdict(withCpuset(R"({"exact":[1,16]})")), HasSubstr("CPU 16 does not exist"));
  EXPECT_THAT(verdict(withCpuset(R"({"exact":[1,1]})")), HasSubstr("CPU 1 is named twice"));
  EXPECT_THAT(verdict(withCpuset(R"({"range":{"start":0.5,"end":0.5}})")), HasSubstr("names no CPU"));
  EXPECT_THAT(verdict(withCpuset(R"({"range":{"start":0.97}})")), "");
  EXPECT_THAT(verdict(withCpuset(R"({"range":{"start":0.1,"end":0.12}})")), HasSubstr("names no CPU"));
  EXPECT_THAT(verdict(withCpuset(R"({"range":{"start":0,"end":1.5}})")), HasSubstr("range.end: 1.5"));
  EXPECT_THAT(verdict(withCpuset(R"({"disjoint":{"index":2,"of":2}})")), HasSubstr("no part 2 of 2"));
  EXPECT_THAT(verdict(withCpuset(R"({"disjoint":{"index":0,"of":0}})")), HasSubstr("no part 0 of 0"));
  EXPECT_THAT(verdict(withCpuset(R"({"disjoint":{"index":0,"of":17}})")),
              HasSubstr("17 parts of the 16 CPUs"));
  EXPECT_THAT(verdict(withCpuset(R"({"overlap":{"index":0,"of":2,"fraction":2}})")),
              HasSubstr("overlap.fraction"));
}

TEST(ValidateTest, FollowsOperations) {
  const std::string a = R"({"name":"a",)" + spin + "}";
  const auto op = [&](const std::string& ops) { return verdict(withCgroups(a, ops)); };
  EXPECT_EQ(
      op(R"({"addCgroup":"b"},{"removeCgroup":"b"},{"addCgroup":"b"},{"stopCgroup":"a"},{"sleepMs":1})"), "");
  EXPECT_THAT(op(R"({"stopCgroup":"nope"})"),
              StartsWith("steps[0].ops[0].stopCgroup: there is no cgroup \"nope\" at this point"));
  EXPECT_THAT(op(R"({"removeCgroup":"a"},{"removeCgroup":"a"})"),
              StartsWith("steps[0].ops[1].removeCgroup: "));
  EXPECT_THAT(op(R"({"addCgroup":"a"})"), HasSubstr("is there already"));
  EXPECT_THAT(op(R"({"addCgroup":"a/b"})"), HasSubstr("\"a\" has work"));
  EXPECT_THAT(op(R"({"setCpuset":{"cgroup":"a","cpuset":{"llc":9}}})"),
              StartsWith("steps[0].ops[0].setCpuset.cpuset.llc: LLC 9 does not exist"));
  EXPECT_THAT(op(R"({"setCpuset":{"cgroup":"b","cpuset":{"llc":0}}})"),
              StartsWith("steps[0].ops[0].setCpuset.cgroup: "));
  EXPECT_THAT(op(R"({"sleepMs":0})"), StartsWith("steps[0].ops[0].sleepMs: "));
}

TEST(ValidateTest, ChildCpusetsStayInsideTheirParents) {
  const std::string child = R"({"name":"p/c","cpuset":{"llc":1},)" + spin + "}";
  EXPECT_EQ(verdict(withCgroups(child, R"({"setCpuset":{"cgroup":"p","cpuset":{"numa":0}}})")), "");
  EXPECT_THAT(verdict(withCgroups(child, R"({"setCpuset":{"cgroup":"p","cpuset":{"llc":0}}})")),
              HasSubstr("CPUs 4-7 of \"p/c\" are not inside its parent's 0-3"));
  EXPECT_THAT(verdict(withCgroups(child, R"({"removeCgroup":"p"})")),
              HasSubstr("still has the child \"p/c\""));
}

std::string resolved(const std::string& cpuset, const Topology& shape = topology) {
  capnp::MallocMessageBuilder message;
  auto spec = message.initRoot<rpc::CpusetSpec>();
  fromJson(cpuset, spec);
  const auto cpus = resolveCpuset(spec, shape);
  return cpus ? cpuList(*cpus) : "inherit";
}

TEST(ResolveTest, FollowsTheSchema) {
  EXPECT_EQ(resolved("{}"), "inherit");
  EXPECT_EQ(resolved(R"({"llc":2})"), "8-11");
  EXPECT_EQ(resolved(R"({"numa":1})"), "8-15");
  EXPECT_EQ(resolved(R"({"range":{"start":0.3,"end":0.7}})"), "4-10");  // floor(4.8), floor(11.2)
  EXPECT_EQ(resolved(R"({"range":{"start":0.5}})"), "8-15");
  EXPECT_EQ(resolved(R"({"disjoint":{"index":0,"of":3}})"), "0-4");
  EXPECT_EQ(resolved(R"({"disjoint":{"index":2,"of":3}})"), "10-15");
  EXPECT_EQ(resolved(R"({"overlap":{"index":1,"of":4,"fraction":0.5}})"), "2-9");
  EXPECT_EQ(resolved(R"({"overlap":{"index":0,"of":4,"fraction":1}})"), "0-7");
  EXPECT_EQ(resolved(R"({"exact":[9,1]})"), "1,9");
  EXPECT_EQ(resolved(R"({"numa":1})", parseTopology("1l256M,2l256M,0l256M,2c1t")), "2-5");
}

TEST(ResolveTest, RefusesANodeWithoutCpus) {
  try {
    resolved(R"({"numa":1})", parseTopology("1l256M,0l256M,1c1t"));
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "numa: node 1 of 1l256M,0l256M,1c1t has no CPU");
  }
}

TEST(ResolveTest, ListsCpusetsInTheOrderOfUse) {
  capnp::MallocMessageBuilder message;
  auto orders = message.initRoot<rpc::GuestOrders>();
  fromJson(R"({"name":"x","steps":[
      {"cgroups":[{"name":"a","cpuset":{"llc":0},"work":[{}]},{"name":"b","work":[{}]}],
       "ops":[{"sleepMs":1},{"setCpuset":{"cgroup":"b","cpuset":{"llc":3}}}]},
      {"cgroups":[{"name":"c","cpuset":{"numa":1},"work":[{}]}]}]})",
           orders.initScenario());
  validateScenario(orders.getScenario(), topology);
  resolvePlacement(orders.getScenario(), topology, orders);
  std::string all;
  for (const auto& each : orders.getCpusets().asReader()) {
    all += std::to_string(each.getStep()) + each.getCgroup().cStr() + "=" +
           cpuList(cpuNumbers(each.getCpus())) + ";";
  }
  EXPECT_EQ(all, "0a=0-3;0b=;0b=12-15;1c=8-15;");
}

}  // namespace
}  // namespace ktstr
