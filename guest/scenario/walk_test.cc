// What a scenario may say at which point of it, and what comes out for the guest.
#include "guest/scenario/walk.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guest/scenario/programs.h"
#include "guest/scenario/validate.h"
#include "protocol/json.h"

namespace ktstr {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const Topology topology = parseTopology("2n4l2c2t");  // 16 CPUs, 4 per LLC, 8 per node

// Message of the refusal, with its hint, or "".
std::string verdict(const std::string& json, std::optional<bool> underScheduler = std::nullopt,
                    const Topology& shape = topology) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  fromJson(json, scenario);
  try {
    validateScenario(scenario, shape, underScheduler);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "scenario-invalid");
    return error.message() + " | " + error.hint();
  }
}

const std::string spin = R"("work":[{"type":{"spinWait":{}}}])";
const std::string a = R"({"name":"a",)" + spin + "}";

std::string step(const std::string& cgroups, const std::string& ops = "", const std::string& hold = "{}") {
  return R"({"cgroups":[)" + cgroups + R"(],"ops":[)" + ops + R"(],"hold":)" + hold + "}";
}
std::string scenario(const std::string& steps, const std::string& more = "") {
  return R"({"name":"x","steps":[)" + steps + "]" + more + "}";
}
std::string ops(const std::string& list, const std::string& more = "") {
  return verdict(scenario(step(a, list), more));
}
std::string work(const std::string& fields, const std::string& cgroup = "") {
  return verdict(
      scenario(step(R"({"name":"a",)" + cgroup + R"("work":[{)" + fields + R"("type":{"spinWait":{}}}]})")));
}
std::string limits(const std::string& fields) {
  return verdict(scenario(step(R"({"name":"a","limits":{)" + fields + "}," + spin + "}")));
}

TEST(WalkTest, RefusesNamesThatCannotBe) {
  const std::string huge(300, 'n');
  EXPECT_THAT(verdict(R"({"name":")" + huge + R"(","steps":[{}]})"), StartsWith("name: a name of 300 bytes"));
  EXPECT_THAT(work(R"("name":")" + huge + "\","), HasSubstr("work[0].name: a name of 300 bytes"));
  EXPECT_THAT(work(R"("name":"a/b",)"), HasSubstr("work[0].name: \"a/b\" is not 1-64 of the characters"));
  EXPECT_THAT(ops(R"({"addCgroup":")" + huge + "\"}"), HasSubstr("addCgroup: a path of 300 bytes"));
  EXPECT_THAT(ops(R"({"snapshot":"a/b"})"), StartsWith("steps[0].ops[0].snapshot: "));
  EXPECT_THAT(work(R"("comm":"sixteen-bytes-xx",)"),
              HasSubstr("comm: a name of 16 bytes; the kernel keeps 15"));
  EXPECT_EQ(work(R"("comm":"fifteen-bytes-x",)"), "");
}

TEST(WalkTest, RefusesPoliciesTheKernelWouldRefuse) {
  EXPECT_EQ(work(R"("policy":{"fifo":1},)"), "");
  EXPECT_EQ(work(R"("policy":{"ext":null},"nice":-20,)"), "");
  EXPECT_THAT(work(R"("policy":{"fifo":0},)"), HasSubstr("work[0].policy.fifo: 0 is not from 1 to 99"));
  EXPECT_THAT(work(R"("policy":{"rr":100},)"), HasSubstr("work[0].policy.rr: 100 is not from 1 to 99"));
  EXPECT_THAT(work(R"("policy":{"fifo":1},"nice":5,)"),
              HasSubstr("nice: a real-time or deadline task has no nice"));
  EXPECT_EQ(work(R"("policy":{"deadline":{"runtimeUs":10,"deadlineUs":100}},)"), "");
  EXPECT_THAT(work(R"("policy":{"deadline":{"runtimeUs":101,"deadlineUs":100}},)"),
              HasSubstr("deadline.runtimeUs: 101 is not from 2 to 100"));
  EXPECT_THAT(work(R"("policy":{"deadline":{"runtimeUs":10,"deadlineUs":100,"periodUs":99}},)"),
              HasSubstr("deadline.deadlineUs: 100"));
  EXPECT_THAT(work(R"("policy":{"deadline":{"runtimeUs":10,"deadlineUs":100}},)", R"("cpuset":{"llc":0},)"),
              HasSubstr("may not run on every CPU"));
}

TEST(WalkTest, RefusesContradictoryPlaces) {
  EXPECT_EQ(work(R"("numaNode":1,)"), "");
  EXPECT_THAT(work(R"("numaNode":2,)"), HasSubstr("work[0].numaNode: node 2 does not exist"));
  EXPECT_THAT(work(R"("numaNode":1,)", R"("cpuset":{"numa":0},)"),
              HasSubstr("node 1 has no CPU inside the cgroup's 0-7"));
  EXPECT_THAT(work(R"("numaNode":1,"affinity":{"singleCpu":null},)"), HasSubstr("contradicts \"affinity\""));
  EXPECT_EQ(work(R"("affinity":{"singleCpu":null},)", R"("numaNode":1,)"), "") << "a default gives way";
  EXPECT_THAT(work(R"("memory":{"bind":[2]},)"), HasSubstr("work[0].memory.bind: node 2 does not exist"));
  EXPECT_THAT(work(R"("memory":{"bind":[]},)"), HasSubstr("memory.bind: names no node"));
  EXPECT_THAT(work(R"("memory":{"interleave":[0,0]},)"), HasSubstr("node 0 is named twice"));
  EXPECT_THAT(work(R"("memory":{"preferred":7},)"), HasSubstr("memory.preferred: node 7"));
  EXPECT_THAT(work(R"("memory":{"bind":[1]},)", R"("cpusetMems":[0],)"),
              HasSubstr("node 1 is not one of the cgroup's memory nodes 0"));
  EXPECT_THAT(work(R"("memory":{"bind":[1],"staticNodes":true,"relativeNodes":true},)"),
              HasSubstr("excludes staticNodes"));
  EXPECT_THAT(work(R"("memory":{"interleave":[1],"numaBalancing":true},)"), HasSubstr("only with bind"));
  EXPECT_THAT(work(R"("memory":{"local":null,"staticNodes":true},)"),
              HasSubstr("mean nothing without nodes"));
  EXPECT_THAT(work("", R"("cpusetMems":[2],)"), HasSubstr("cgroups[0].cpusetMems: node 2 does not exist"));
}

TEST(WalkTest, RefusesWorkThatItsPlaceLeavesNoMeaning) {
  const auto said = [](const std::string& cgroup, const std::string& type, const std::string& affinity = "") {
    return verdict(scenario(step(R"({"name":"a",)" + cgroup + R"("work":[{"workers":2,)" + affinity +
                                 R"("type":)" + type + "}]}")));
  };
  const std::string churn = R"({"numaMigrationChurn":{}})", spinning = R"({"smtSiblingSpin":{}})";
  EXPECT_EQ(said("", churn), "");
  EXPECT_EQ(said(R"("cpuset":{"exact":[7,8]},)", churn), "");
  EXPECT_EQ(
      said(R"("cpuset":{"numa":1},)", churn),
      "steps[0].cgroups[0].work[0].type.numaMigrationChurn: may run on CPUs 8-15, which are of one node: "
      "there is none to go to | widen the cpuset or the affinity to CPUs of two nodes");
  EXPECT_THAT(said("", churn, R"("numaNode":0,)"), HasSubstr("may run on CPUs 0-7, which are of one node"));
  EXPECT_EQ(said(R"("cpuset":{"exact":[1,2,3]},)", spinning), "");
  EXPECT_EQ(said(R"("cpuset":{"exact":[1,2,5]},)", spinning),
            "steps[0].cgroups[0].work[0].type.smtSiblingSpin: may run on CPUs 1-2,5, of which no two are "
            "threads of one core: no siblings | widen the cpuset, or use the affinity smtSiblingPair");
  EXPECT_THAT(said("", spinning, R"("affinity":{"singleCpu":null},)"), HasSubstr("may run on CPUs 0, of"));
  EXPECT_EQ(said("", spinning, R"("affinity":{"smtSiblingPair":null},)"), "");
  const std::string sweep = R"({"numaWorkingSetSweep":{"targetNodes":[0,1]}})";
  EXPECT_EQ(said("", sweep), "");
  EXPECT_EQ(said(R"("cpusetMems":[0],)", sweep),
            "steps[0].cgroups[0].work[0].type.numaWorkingSetSweep.targetNodes: node 1 is not one of the "
            "cgroup's memory nodes 0 | widen cpusetMems, or name nodes inside it");
}

TEST(WalkTest, RefusesLimitsTheKernelWouldChange) {
  EXPECT_EQ(limits(R"("cpuWeight":10000,"cpuQuotaUs":150000,"memoryMaxBytes":8192,"pidsMax":5)"), "");
  EXPECT_EQ(limits(R"("cpuQuotaUs":18446744073709551615,"memoryMaxBytes":18446744073709551615)"), "");
  EXPECT_THAT(limits(R"("cpuQuotaUs":999)"), HasSubstr("limits.cpuQuotaUs: 999 is not from 1000"));
  EXPECT_THAT(limits(R"("cpuPeriodUs":0)"), HasSubstr("limits.cpuPeriodUs: 0 is not from 1000 to 1000000"));
  EXPECT_THAT(limits(R"("memoryMaxBytes":5000)"), HasSubstr("5000 bytes are not whole pages"));
  EXPECT_THAT(limits(R"("memoryMaxBytes":5000)"), EndsWith("use 4096 or 8192"));
  EXPECT_THAT(limits(R"("memoryLowBytes":8192,"memoryMaxBytes":4096)"),
              HasSubstr("8192 is more than memoryMaxBytes 4096"));
  EXPECT_THAT(limits(R"("ioWeight":10001)"), HasSubstr("ioWeight: 10001"));
}

TEST(WalkTest, KnowsWhoIsThereAtEachPoint) {
  EXPECT_THAT(ops(R"({"clearCpuset":"b"})"),
              StartsWith("steps[0].ops[0].clearCpuset: there is no cgroup \"b\""));
  EXPECT_THAT(ops(R"({"clearCpuset":"b"})"), EndsWith("there are: a"));
  EXPECT_THAT(ops(R"({"swapCpusets":{"a":"a","b":"a"}})"), HasSubstr("is the same cgroup"));
  EXPECT_THAT(ops(R"({"addCgroup":"b"},{"swapCpusets":{"a":"a","b":"b"}})"),
              HasSubstr("has a cpuset of its own"));
  EXPECT_THAT(ops(R"({"spawn":{"cgroup":"b","work":{}}})"), StartsWith("steps[0].ops[0].spawn.cgroup: "));
  EXPECT_EQ(ops(R"({"spawn":{"cgroup":"","work":{}}})"), "");
  EXPECT_THAT(ops(R"({"spawn":{"cgroup":"a","work":{}}})"),
              HasSubstr("two work groups are called \"spinWait\""));
  EXPECT_THAT(ops(R"({"stopCgroup":"a"},{"setAffinity":{"cgroup":"a","affinity":{"singleCpu":null}}})"),
              HasSubstr("ops[1].setAffinity.cgroup: \"a\" has no worker"));
  EXPECT_THAT(ops(R"({"setAffinity":{"cgroup":"a","affinity":{"exact":[99]}}})"),
              StartsWith("steps[0].ops[0].setAffinity.affinity.exact: CPU 99 does not exist"));
  EXPECT_THAT(ops(R"({"addCgroup":"b"},{"moveAllTasks":{"from":"b","to":"a"}})"),
              HasSubstr("\"b\" has no task"));
  EXPECT_THAT(ops(R"({"addCgroup":"b/c"},{"moveAllTasks":{"from":"a","to":"b"}})"),
              HasSubstr("has the child \"b/c\""));
  EXPECT_EQ(ops(R"({"addCgroup":"b"},{"moveAllTasks":{"from":"a","to":"b"}},{"addCgroup":"a/d"})"), "");
  EXPECT_THAT(ops(R"({"freezeCgroup":"z"})"), StartsWith("steps[0].ops[0].freezeCgroup: "));
  EXPECT_THAT(ops(R"({"setLimits":{"cgroup":"a","limits":{"cpuWeight":20000}}})"),
              HasSubstr("setLimits.limits.cpuWeight"));
  std::string watches = R"({"watch":".bss:nr_queued > 5"})";
  for (int i = 0; i < 15; ++i) watches += R"(,{"watch":"scx_root"})";
  EXPECT_EQ(ops(watches), "");
  EXPECT_THAT(ops(watches + R"(,{"watch":"a"})"), HasSubstr("more than 16 watches"));
  EXPECT_THAT(ops(R"({"watch":""})"), StartsWith("steps[0].ops[0].watch: an expression has 1 to 128"));
  EXPECT_THAT(ops(R"({"watch":"a\u0001"})"), StartsWith("steps[0].ops[0].watch: an expression has 1 to 128"));
  EXPECT_THAT(verdict(scenario(step(a) + "," + step("", R"({"stopCgroup":"a"})"))),
              HasSubstr("steps[1].ops[0].stopCgroup: there is no"));
  EXPECT_THAT(ops(R"({"spawn":{"cgroup":"","work":{"workers":4096}}})"),
              HasSubstr("steps[0]: 4097 workers; at most 4096"));
}

TEST(WalkTest, TheBackdropOutlivesTheSteps) {
  const std::string back = R"(,"backdrop":{"cgroups":[{"name":"back",)" + spin + "}]}";
  EXPECT_EQ(verdict(scenario(step(a) + "," + step("", R"({"freezeCgroup":"back"})"), back)), "");
  EXPECT_THAT(ops(R"({"stopCgroup":"back"})", back), HasSubstr("\"back\" belongs to the backdrop"));
  EXPECT_THAT(ops(R"({"removeCgroup":"back"})", back), HasSubstr("\"back\" belongs to the backdrop"));
  EXPECT_EQ(ops(R"({"moveAllTasks":{"from":"a","to":"back"}})", back), "");
  EXPECT_THAT(ops(R"({"addCgroup":"b"},{"moveAllTasks":{"from":"back","to":"b"}})", back),
              HasSubstr("the backdrop's tasks of \"back\" would be left"));
  EXPECT_THAT(ops(R"({"addCgroup":"p"})", R"(,"backdrop":{"ops":[{"addCgroup":"p/q"}]})"),
              HasSubstr("is there already"));
  EXPECT_THAT(ops("", R"(,"backdrop":{"ops":[{"detachScheduler":null}]})"),
              StartsWith("backdrop.ops[0]: a scheduler belongs"));
  EXPECT_THAT(ops("", R"(,"backdrop":{"ops":[{"stopCgroup":"q"}]})"),
              StartsWith("backdrop.ops[0].stopCgroup: "));
}

TEST(WalkTest, WritesOfTheHostNeedASchedulerAndPlaces) {
  const auto writes = [](const std::string& words, const std::string& before = "",
                         std::optional<bool> under = true) {
    return verdict(scenario(step(a, before + R"({"writeMap":[)" + words + "]}")), under);
  };
  const std::string good = R"(".bss:fault=7")";
  EXPECT_EQ(writes(good), "");
  EXPECT_EQ(writes(good + R"(,".bss:fault2=7",".data:fault=7")"), "");
  EXPECT_EQ(writes(good, "", std::nullopt), "");
  EXPECT_THAT(writes(good, "", false), AllOf(StartsWith("steps[0].ops[0].writeMap: no scheduler is attached"),
                                             HasSubstr("--scheduler")));
  EXPECT_THAT(writes(good, R"({"detachScheduler":null},)"), HasSubstr("ops[1].writeMap: no scheduler is"));
  EXPECT_THAT(writes(""), HasSubstr("nothing is to be written"));
  EXPECT_THAT(writes(R"(".bss.fault")"), HasSubstr("\".bss.fault\" is not MAP:PLACE=VALUE"));
  EXPECT_THAT(writes(good + R"(,".bss:fault=8")"), HasSubstr(".bss:fault is to be written twice at once"));
  EXPECT_THAT(verdict(scenario(step(a, R"({"writeMap":[".bss:x=1"]})", R"({"loop":{}})"))),
              HasSubstr("a loop would write in every round"));
  EXPECT_THAT(ops("", R"(,"backdrop":{"ops":[{"writeMap":[".bss:x=1"]}]})"),
              StartsWith("backdrop.ops[0].writeMap: a scheduler's values belong to a step"));
  std::string many;
  for (int i = 0; i < 63; ++i) many += R"(".bss:+)" + std::to_string(4 * i) + R"(=1",)";
  EXPECT_EQ(writes(many + good), "");
  EXPECT_THAT(writes(many + good, R"({"writeMap":[".bss:x=1"]},)"), HasSubstr("more than 64 writes"));
}

TEST(WalkTest, FollowsPayloads) {
  const std::string run = R"({"runPayload":{"name":"p","binary":"/bin/true","cgroup":"a"}})";
  EXPECT_EQ(ops(run + R"(,{"waitPayload":{"name":"p"}})"), "");
  EXPECT_THAT(ops(R"({"waitPayload":{"name":"p"}})"), HasSubstr("no payload \"p\" runs at this point"));
  EXPECT_THAT(ops(run + R"(,{"killPayload":"p"},{"killPayload":"p"})"),
              StartsWith("steps[0].ops[2].killPayload: "));
  EXPECT_THAT(ops(run + R"(,{"killPayload":"q"})"), EndsWith("there are: p"));
  EXPECT_THAT(ops(run + "," + run), HasSubstr("a payload \"p\" still runs"));
  EXPECT_THAT(ops(run + R"(,{"stopCgroup":"a"},)" + run), HasSubstr("has run in this step"));
  EXPECT_THAT(ops(run + R"(,{"freezeCgroup":"a"},{"waitPayload":{"name":"p"}})"),
              HasSubstr("in the frozen cgroup \"a\""));
  EXPECT_THAT(ops(R"({"runPayload":{"name":"p","binary":""}})"), HasSubstr("names no program"));
  EXPECT_THAT(ops(R"({"runPayload":{"name":"p","binary":"x","cgroup":"b"}})"),
              HasSubstr("runPayload.cgroup: "));
  EXPECT_THAT(ops(run + R"(,{"waitPayload":{"name":"p","timeoutMs":0}})"), HasSubstr("timeoutMs: 0 ms"));
}

TEST(WalkTest, FollowsSchedulers) {
  const std::string named = R"(,"schedulers":[{"name":"q","binary":"scx_qmap"}])";
  const auto under = [&](std::optional<bool> scheduler, const std::string& list) {
    return verdict(scenario(step(a, list), named), scheduler);
  };
  EXPECT_EQ(under(true, R"({"detachScheduler":null},{"attachScheduler":""},{"replaceScheduler":"q"})"), "");
  EXPECT_EQ(under(std::nullopt, R"({"detachScheduler":null})"), "");
  EXPECT_THAT(under(false, R"({"detachScheduler":null})"),
              HasSubstr("no scheduler is attached at this point"));
  EXPECT_EQ(under(false, R"({"attachScheduler":"q"},{"detachScheduler":null})"), "");
  EXPECT_THAT(under(false, R"({"attachScheduler":""})"), HasSubstr("there is no scheduler under test"));
  EXPECT_THAT(under(true, R"({"attachScheduler":"q"})"), HasSubstr("a scheduler is attached at this point"));
  EXPECT_THAT(under(true, R"({"replaceScheduler":"r"})"), EndsWith("there are: q"));
  EXPECT_THAT(verdict(scenario(step(a), R"(,"schedulers":[{"name":"q"}])")),
              StartsWith("schedulers[0].binary: "));
  EXPECT_THAT(
      verdict(scenario(step(a), R"(,"schedulers":[{"name":"q","binary":"x"},{"name":"q","binary":"y"}])")),
      HasSubstr("two schedulers are called"));
}

TEST(WalkTest, LoopsMustFitAfterThemselves) {
  const auto loop = [](const std::string& list, const std::string& hold = R"({"loop":{}})") {
    return verdict(scenario(step(a, list, hold)));
  };
  EXPECT_EQ(loop(R"({"addCgroup":"b"},{"removeCgroup":"b"})"), "");
  EXPECT_THAT(loop(R"({"addCgroup":"b"})"), HasSubstr("is there already, in the second round of the loop"));
  EXPECT_THAT(loop(R"({"removeCgroup":"a"})"), HasSubstr("in the second round"));
  EXPECT_THAT(loop(R"({"spawn":{"cgroup":"a","work":{"name":"b"}}})"), HasSubstr("could not be told apart"));
  EXPECT_THAT(loop(""), HasSubstr("a loop without operations"));
  EXPECT_THAT(loop(R"({"sleepMs":1})", R"({"loop":{"intervalMs":0}})"),
              HasSubstr("hold.loop.intervalMs: 0 ms"));
  EXPECT_THAT(loop(R"({"sleepMs":1})", R"({"loop":{"fraction":-1}})"), HasSubstr("hold.loop.fraction: -1"));
  EXPECT_THAT(loop(R"({"setAffinity":{"cgroup":"a","affinity":{"singleCpu":null}}},
                      {"setCpuset":{"cgroup":"a","cpuset":{"llc":1}}})"),
              HasSubstr("resolves to other CPUs in the second round"));
}

TEST(WalkTest, ResolvesAffinitiesWithTheCpusetInForce) {
  capnp::MallocMessageBuilder message;
  auto orders = message.initRoot<rpc::GuestOrders>();
  fromJson(scenario(step(R"({"name":"a","cpuset":{"llc":1},"work":[
             {"name":"one","affinity":{"singleCpu":null},"type":{"spinWait":{}}},
             {"name":"two","workers":2,"affinity":{"randomSubset":{"count":1}},"type":{"spinWait":{}}}]})",
                         R"({"setCpuset":{"cgroup":"a","cpuset":{"numa":1}}},
                            {"setAffinity":{"cgroup":"a","affinity":{"llcAligned":null}}})"),
                    R"(,"backdrop":{"cgroups":[{"name":"b","numaNode":0,)" + spin + "}]}"),
           orders.initScenario());
  resolvePlacement(orders.getScenario(), topology, orders);
  std::vector<std::string> all;
  for (const auto& each : orders.getAffinities().asReader()) {
    std::string line = std::to_string(each.getStep()) + each.getCgroup().cStr() + "." +
                       each.getWork().cStr() + "@" + std::to_string(each.getOp()) + "=";
    for (const auto& list : each.getCpus()) line += std::string(list.cStr()) + ";";
    all.push_back(line);
  }
  EXPECT_THAT(all, ElementsAre("4294967295b.spinWait@-1=0-7;", "0a.one@-1=4;", StartsWith("0a.two@-1="),
                               "0a.@1=8-11;"));
}

TEST(ProgramsTest, ListsEachBinaryOnce) {
  capnp::MallocMessageBuilder message;
  auto it = message.initRoot<rpc::Scenario>();
  fromJson(R"({"backdrop":{"ops":[{"runPayload":{"binary":"/x/stress"}}]},"steps":[{"ops":[
      {"runPayload":{"binary":"busybox"}},{"sleepMs":1},{"runPayload":{"binary":"/x/stress"}}]}]})",
           it);
  EXPECT_THAT(payloadBinaries(it), ElementsAre("/x/stress", "busybox"));
  EXPECT_EQ(guestProgram("/x/stress"), "/ktstr/bin/stress");
  EXPECT_EQ(guestProgram("busybox"), "/ktstr/bin/busybox");
}

TEST(Walk, groupsMayShareAProcessByName) {
  const auto said = [](const std::string& cgroup) { return verdict(scenario(step(cgroup))); };
  EXPECT_EQ(said(R"({"name":"a","pcomm":"tenant",)" + spin + "}"), "");
  EXPECT_EQ(said(R"({"name":"a","work":[{"pcomm":"tenant","type":{"spinWait":{}}}]})"), "");
  EXPECT_THAT(said(R"({"name":"a","pcomm":"sixteen-bytes-xx",)" + spin + "}"),
              HasSubstr("cgroups[0].pcomm: "));
  EXPECT_THAT(said(R"({"name":"a","pcomm":"tenant","work":[{"type":{"cgroupChurn":{}}}]})"),
              HasSubstr("work[0].pcomm: cgroupChurn moves whole processes"));
}

}  // namespace
}  // namespace ktstr
