// What scenarios can say, done by real kernels: each operation and setting as the guest saw it take effect.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "orchestrator/library/snapshot.h"
#include "protocol/file.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSubsetOf;
using ::testing::Not;
using ::testing::Pair;

struct Run {
  Result result;
  Record record;
  std::string events;  // events.jsonl
};

Run run(const std::string& scenario, const std::string& topology, const std::string& scheduler = "",
        const std::vector<std::string>& schedulerArgs = {}) {
  std::vector<std::string> words = {"run", "-", "--format", "jsonl", "--topology", topology};
  if (!scheduler.empty()) words.insert(words.end(), {"--scheduler", scheduler, "--"});
  words.insert(words.end(), schedulerArgs.begin(), schedulerArgs.end());
  Result result = ktstr(words, {.input = scenario});
  if (result.out.empty()) throw std::runtime_error("no record: " + result.err);
  Record record(result.out);
  std::string events = readFile(std::string(record->getDirectory().cStr()) + "/events.jsonl");
  return {std::move(result), std::move(record), std::move(events)};
}

std::vector<rpc::WorkerReport::Reader> workersOf(const Record& record, const std::string& work) {
  std::vector<rpc::WorkerReport::Reader> found;
  for (const auto worker : record->getWorkers()) {
    if (work == worker.getWork().cStr()) found.push_back(worker);
  }
  return found;
}

std::set<uint32_t> cpusSeen(rpc::WorkerReport::Reader worker) {
  return {worker.getCpusSeen().begin(), worker.getCpusSeen().end()};
}

double cpuShare(rpc::WorkerReport::Reader worker) {
  return static_cast<double>(worker.getCpuNs()) / static_cast<double>(worker.getWallNs());
}

std::string payloadOutput(const Record& record, const std::string& name) {
  for (const auto payload : record->getPayloads()) {
    if (name == payload.getName().cStr()) return payload.getOutput().cStr();
  }
  return "no payload " + name;
}

// A guest that could not do what it was told, as opposed to one in which the host's load spoilt a figure.
void expectNoFailureOfTheGuest(const Record& record) {
  for (const auto finding : record->getVerdict().getFindings()) {
    const std::string name = finding.getName().cStr();
    for (const char* ours :
         {"guest-", "worker-setup-failed", "worker-crashed", "worker-isolation", "payload-failed",
          "scheduler-", "teardown-incomplete", "worker-report-missing"}) {
      EXPECT_FALSE(name.starts_with(ours)) << record.findings();
    }
  }
}

constexpr const char* settings = R"({"name":"settings","durationMs":2000,"steps":[{"name":"all","cgroups":[
  {"name":"pool/heavy","cpuset":{"exact":[0]},"limits":{"cpuWeight":800},
   "work":[{"name":"heavy","type":{"spinWait":{}}}]},
  {"name":"pool/light","cpuset":{"exact":[0]},"limits":{"cpuWeight":100,"memoryMaxBytes":67108864,"pidsMax":64},
   "work":[{"name":"light","type":{"spinWait":{}}}]},
  {"name":"throttled","cpuset":{"exact":[1]},"limits":{"cpuQuotaUs":20000},
   "work":[{"name":"throttled","type":{"spinWait":{}}}]},
  {"name":"placed","cpuset":{"range":{"start":0.5}},"work":[
    {"name":"single","affinity":{"singleCpu":null},"type":{"bursty":{"burstUs":2000,"sleepUs":10000}}},
    {"name":"pair","workers":2,"affinity":{"smtSiblingPair":null},"type":{"bursty":{"burstUs":2000,"sleepUs":10000}}},
    {"name":"cross","affinity":{"crossCgroup":null},"type":{"bursty":{"burstUs":2000,"sleepUs":10000}}},
    {"name":"random","workers":4,"affinity":{"randomSubset":{"count":1,"seed":2}},
     "type":{"bursty":{"burstUs":2000,"sleepUs":10000}}}]},
  {"name":"who","nice":3,"comm":"tenant","uid":1000,"gid":1001,"work":[
    {"name":"fifo","policy":{"fifo":10},"type":{"bursty":{"burstUs":1000,"sleepUs":20000}}},
    {"name":"rr","policy":{"rr":5},"type":{"bursty":{"burstUs":1000,"sleepUs":20000}}},
    {"name":"ext","policy":{"ext":null},"type":{"bursty":{"burstUs":1000,"sleepUs":20000}}},
    {"name":"batch","policy":{"batch":null},"memory":{"bind":[0]},"type":{"bursty":{"burstUs":1000,"sleepUs":20000}}},
    {"name":"idle","policy":{"idle":null},"comm":"lazy","memory":{"local":null},
     "type":{"bursty":{"burstUs":1000,"sleepUs":20000}}}]},
  {"name":"memory","cpusetMems":[0,1],"limits":{"memoryHighBytes":134217728,"memoryLowBytes":4096,"ioWeight":200,
    "memorySwapMaxBytes":4096,"cpuQuotaUs":18446744073709551615},"work":[
    {"name":"node","memory":{"bind":[1],"numaBalancing":true},"numaNode":1,"type":{"bursty":{}}},
    {"name":"many","memory":{"preferredMany":[0,1]},"type":{"bursty":{}}},
    {"name":"weighted","memory":{"weightedInterleave":[0,1]},"type":{"bursty":{}}},
    {"name":"relative","memory":{"interleave":[0,1],"relativeNodes":true},"type":{"bursty":{}}},
    {"name":"static","memory":{"bind":[0],"staticNodes":true},"type":{"bursty":{}}},
    {"name":"preferred","memory":{"preferred":1},"type":{"bursty":{}}}]},
  {"name":"alone","work":[{"name":"deadline","type":{"bursty":{"burstUs":1000,"sleepUs":20000}},
   "policy":{"deadline":{"runtimeUs":5000,"deadlineUs":50000}}}]}],
  "ops":[{"addCgroup":"look"},{"runPayload":{"name":"who","binary":"busybox","cgroup":"look","args":["sh","-c",
    "cat /proc/self/cgroup; for p in /proc/[0-9]*; do read c < $p/comm; printf '%s' $c; while read k v; do case $k in [UG]id:) printf ' %s' $k $v;; esac; done < $p/status; echo; done"]}},
   {"waitPayload":{"name":"who"}}]}],
  "assertions":{"isolation":"yes"}})";

TEST(Ops, EverySettingOfCgroupsAndWorkersIsInForce) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const auto [result, record, events] = run(settings, "2n2l1c2t");
  expectNoFailureOfTheGuest(record);
  const auto one = [&all = record](const char* work) { return workersOf(all, work).at(0); };
  // Two on one CPU, 8 to 1; and a fifth of a CPU.
  EXPECT_GT(cpuShare(one("heavy")), 2 * cpuShare(one("light")));
  EXPECT_LT(cpuShare(one("throttled")), 0.4);
  EXPECT_THAT(cpusSeen(one("single")), ElementsAre(2));
  for (const auto& worker : workersOf(record, "pair")) EXPECT_THAT(cpusSeen(worker), IsSubsetOf({2, 3}));
  EXPECT_THAT(cpusSeen(one("cross")), IsSubsetOf({2, 3}));
  EXPECT_THAT(cpusSeen(one("node")), IsSubsetOf({2, 3}));
  std::set<uint32_t> drawn;
  for (const auto& worker : workersOf(record, "random")) {
    EXPECT_EQ(cpusSeen(worker).size(), 1U);
    EXPECT_THAT(cpusSeen(worker), IsSubsetOf({2, 3}));
    drawn.merge(cpusSeen(worker));
  }
  EXPECT_EQ(drawn.size(), 2U) << "four draws of one of two CPUs with seed 2 take both";
  const std::string who = payloadOutput(record, "who");
  EXPECT_THAT(who, HasSubstr("0::/ktstr/look\n"));
  EXPECT_THAT(who, HasSubstr("tenant Uid: 1000 1000 1000 1000 Gid: 1001 1001 1001 1001"));
  EXPECT_THAT(who, HasSubstr("lazy Uid: 1000 1000"));
  for (const char* work : {"fifo", "rr", "ext", "batch", "idle", "deadline", "node", "many", "weighted",
                           "relative", "static", "preferred"}) {
    EXPECT_GT(one(work).getIterations(), 0U) << work;
  }
}

// Of one that takes over tasks of SCHED_EXT alone; it is looked at when both have run, and so have their
// names. In the end nobody may make another cgroup.
constexpr const char* partial = R"({"name":"partial","durationMs":1000,"steps":[
  {"name":"classes","cgroups":[{"name":"both","work":[
    {"name":"ext","comm":"of-ext","policy":{"ext":null},"type":{"spinWait":{}}},
    {"name":"normal","comm":"of-normal","type":{"spinWait":{}}}]}],
   "ops":[{"runPayload":{"name":"named","binary":"busybox","args":["sh","-c",
      "until busybox grep -qx of-ext /proc/*/comm && busybox grep -qx of-normal /proc/*/comm; do busybox usleep 50000; done"]}},
     {"waitPayload":{"name":"named"}},{"snapshot":"classes"}],"hold":{"fixedMs":100}},
  {"name":"full","ops":[{"addCgroup":"there"},{"runPayload":{"name":"close","binary":"busybox","cgroup":"there",
    "args":["sh","-c","echo 1 > /sys/fs/cgroup/ktstr/cgroup.max.descendants"]}},
   {"waitPayload":{"name":"close"}},{"addCgroup":"one-more"}],"hold":{"fixedMs":100}}]})";

TEST(Ops, PartialSchedulerHasTheTasksOfItsPolicyAndACgroupThatCannotBeMadeIsNamed) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER("scx_qmap");
  const auto [result, record, events] = run(partial, "1n1l2c1t", "scx_qmap", {"-p"});
  if (const auto why = record.trouble()) GTEST_SKIP() << *why;
  const std::string dumps = readFile(std::string(record->getDirectory().cStr()) + "/snapshots.jsonl");
  const Snapshot snapshot(dumps.substr(0, dumps.find('\n')));  // the failure has one, too
  std::map<std::string, std::string> classes;
  for (const auto task : snapshot.record().getTasks()) {
    if (const std::string comm = task.getComm().cStr(); comm.starts_with("of-"))
      classes[comm] = task.getSchedClass().cStr();
  }
  EXPECT_THAT(classes, ElementsAre(Pair("of-ext", "ext"), Pair("of-normal", "fair")));

  EXPECT_THAT(record.findings(), HasSubstr("guest-cgroup-failed: "));
  EXPECT_THAT(record.findings(), HasSubstr("make cgroup /sys/fs/cgroup/ktstr/one-more"));
  EXPECT_THAT(record.findings(), Not(HasSubstr("teardown-incomplete")));
  EXPECT_TRUE(descendants().empty());
}

constexpr const char* operations = R"({"name":"operations","durationMs":1000,
  "backdrop":{"cgroups":[{"name":"back","cpuset":{"llc":1},"work":[{"name":"steady","type":{"spinWait":{}}}]}]},
  "steps":[
  {"name":"cgroups","cgroups":[
    {"name":"a","cpuset":{"llc":0},"work":[{"name":"spin","workers":2,"type":{"spinWait":{}}}]},
    {"name":"b","cpuset":{"llc":1},"work":[{"name":"rest","type":{"bursty":{}}}]},
    {"name":"c","work":[{"name":"pinned","type":{"spinWait":{}}}]}],
   "ops":[{"addCgroup":"late"},{"swapCpusets":{"a":"a","b":"b"}},{"clearCpuset":"b"},
    {"spawn":{"cgroup":"late","work":{"name":"more","workers":2,"affinity":{"exact":[3]},"type":{"spinWait":{}}}}},
    {"spawn":{"cgroup":"","work":{"name":"host","type":{"bursty":{}}}}},
    {"setLimits":{"cgroup":"late","limits":{"cpuWeight":50,"cpuQuotaUs":50000}}},
    {"sleepMs":200},{"moveAllTasks":{"from":"late","to":"back"}},{"removeCgroup":"late"},
    {"setAffinity":{"cgroup":"c","affinity":{"singleCpu":null}}},
    {"freezeCgroup":"a"},{"sleepMs":1500},{"unfreezeCgroup":"a"},
    {"snapshot":"after-thaw"},{"watch":"scx_root"},{"stopCgroup":"b"}],"hold":{"fixedMs":300}},
  {"name":"loop","cgroups":[{"name":"d","work":[{"name":"spin","type":{"spinWait":{}}}]}],
   "ops":[{"setCpuset":{"cgroup":"d","cpuset":{"llc":0}}},{"addCgroup":"x/y"},{"removeCgroup":"x/y"},
    {"setCpuset":{"cgroup":"d","cpuset":{"llc":1}}},{"removeCgroup":"x"}],
   "hold":{"loop":{"intervalMs":100,"fraction":0.5}}},
  {"name":"payloads","cgroups":[{"name":"e","work":[{"name":"spin","type":{"spinWait":{}}}]}],
   "ops":[{"runPayload":{"name":"seven","binary":"busybox","args":["sh","-c","echo words; exit 7"],"cgroup":"e",
     "exitCode":7}},{"waitPayload":{"name":"seven"}},
    {"runPayload":{"name":"long","binary":"busybox","args":["sleep","100"],"cgroup":"e"}},{"killPayload":"long"},
    {"runPayload":{"name":"left","binary":"busybox","args":["sleep","100"]}}],"hold":{"fixedMs":100}}],
  "assertions":{"isolation":"yes","maxGapMs":1200}})";

TEST(Ops, EveryOperationTakesEffect) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const auto [result, record, events] = run(operations, "1n2l2c1t");
  expectNoFailureOfTheGuest(record);
  const auto applied = [&, &events = events](const std::string& detail) {
    EXPECT_THAT(events, HasSubstr("\"detail\":\"" + detail));
  };
  applied("added late");
  applied("cpuset of a: 2-3 (effective 2-3); cpuset of b: 0-1 (effective 0-1)");
  applied("cpuset of b: inherited (effective 0-3)");
  applied("spawned 2 workers in late");
  applied("spawned 1 worker in the root cgroup");
  applied("limits of late: cpu.weight=50 cpu.max=50000 100000 memory.max=max");
  applied("moved 2 tasks from late to back, which has 3 now");
  applied("set the affinity of 1 worker in c");
  applied("froze a");
  applied("thawed a");
  applied("stopped b");
  EXPECT_THAT(events, HasSubstr(R"("snapshotRequested":"after-thaw")"));
  EXPECT_THAT(events, HasSubstr(R"("watchRequested":"scx_root")"));
  EXPECT_THAT(events, HasSubstr(R"("detail":"asked for snapshot after-thaw"})"))
      << "it waited for the snapshot";
  unsigned snapshots = 0;
  for (const auto snapshot : record->getSnapshots()) {
    if (snapshot.getReason() != rpc::DumpReason::OPERATION) continue;  // of a failure of a slow host
    ++snapshots;
    EXPECT_EQ(snapshot.getName(), "after-thaw");
    EXPECT_EQ(snapshot.getFile(), "snapshots.jsonl") << snapshot.getFailure().cStr();
  }
  EXPECT_EQ(snapshots, 1U);

  // Frozen for 1.5 s, nothing was done, and the scheduler is not to blame.
  for (const auto& worker : workersOf(record, "spin")) {
    if (worker.getStep() == 0) {
      EXPECT_GE(worker.getMaxGapNs(), 1'400'000'000U);
    }
  }
  if (!record.trouble()) {
    EXPECT_FALSE(record.hasFinding("worker-gap")) << record.findings();
  }
  // Judged though stopped, moved, removed, or outside of all cgroups.
  EXPECT_EQ(workersOf(record, "rest").size(), 1U);
  EXPECT_EQ(workersOf(record, "host").size(), 1U);
  for (const auto& worker : workersOf(record, "more")) EXPECT_THAT(cpusSeen(worker), ElementsAre(3));
  const auto steady = workersOf(record, "steady").at(0);
  EXPECT_EQ(steady.getStep(), rpc::BACKDROP_STEP);
  EXPECT_GT(steady.getWallNs(), 2'000'000'000U);
  EXPECT_GT(workersOf(record, "more").at(0).getWallNs(), 2'000'000'000U) << "they stayed in the backdrop";

  size_t rounds = 0;
  for (size_t at = 0; (at = events.find("removed x\"", at)) != std::string::npos; at++) rounds++;
  EXPECT_GE(rounds, 2U);

  ASSERT_EQ(record->getPayloads().size(), 3U);
  EXPECT_EQ(record->getPayloads()[0].getExited().getCode(), 7);
  EXPECT_STREQ(record->getPayloads()[0].getOutput().cStr(), "words\n");
  EXPECT_EQ(record->getPayloads()[1].getExited().getSignal(), 9U);
  EXPECT_TRUE(record->getPayloads()[1].getKilled());
  EXPECT_STREQ(record->getPayloads()[2].getName().cStr(), "left");
  EXPECT_TRUE(record->getPayloads()[2].getKilled());
}

constexpr const char* schedulers = R"({"name":"schedulers","durationMs":1500,
  "schedulers":[{"name":"other","binary":"scx_flatcg"}],
  "backdrop":{"cgroups":[{"name":"all","work":[{"name":"burst","workers":2,
    "type":{"bursty":{"burstUs":5000,"sleepUs":20000}}}]}]},
  "steps":[{"name":"simple"},{"name":"eevdf","ops":[{"detachScheduler":null}]},
    {"name":"flatcg","ops":[{"attachScheduler":"other"}]},
    {"name":"again","ops":[{"replaceScheduler":""}],"hold":{"fraction":0.5}}]})";

TEST(Ops, SchedulersChangeInOneMachine) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER("scx_simple");
  KTSTR_NEED_SCHEDULER("scx_flatcg");
  const auto [result, record, events] = run(schedulers, "1n2l1c1t", "scx_simple");
  if (record.hasFinding("stale-breakpoint")) GTEST_SKIP() << record.findings();
  expectNoFailureOfTheGuest(record);
  EXPECT_FALSE(record.hasFinding("monitor-contradicts-guest")) << record.findings();
  const auto spans = record->getSchedulers();
  ASSERT_EQ(spans.size(), 3U);
  const std::vector<std::string> names = {"scx_simple", "other", "scx_simple"},
                                 ops = {"simple", "flatcg", "simple"};
  for (unsigned i = 0; i < 3; i++) {
    EXPECT_EQ(spans[i].getName().cStr(), names[i]);
    EXPECT_EQ(spans[i].getOpsName().cStr(), ops[i]);
    EXPECT_TRUE(spans[i].getOrdered());
    EXPECT_GT(spans[i].getLeftMs(), spans[i].getAttachedMs());
  }
  EXPECT_LT(spans[0].getAttachedMs(), 0) << "before the scenario";
  EXPECT_GT(spans[0].getLeftMs(), 1000);
  EXPECT_GT(spans[1].getAttachedMs() - spans[0].getLeftMs(), 1000) << "a phase of EEVDF alone";
  // What the monitor saw from outside.
  const auto seen = record->getMonitor();
  EXPECT_EQ(seen.getOpsNames().size(), 2U);
  EXPECT_LT(seen.getScxEnabledSamples(), seen.getValidSamples());
  EXPECT_GT(workersOf(record, "burst").at(0).getIterations(), 0U);
}

constexpr const char* broken = R"({"name":"broken","durationMs":500,"steps":[{"cgroups":[
  {"name":"a","work":[{"name":"spin","type":{"spinWait":{}}}]}],"ops":[
  {"runPayload":{"name":"three","binary":"busybox","args":["sh","-c","echo why; exit 3"]}},
  {"waitPayload":{"name":"three"}},{"addCgroup":"b"},
  {"runPayload":{"name":"daemon","binary":"busybox","cgroup":"b","args":["sh","-c",
    "setsid sh -c 'touch /tmp/up; exec sleep 1000' & until [ -e /tmp/up ]; do :; done"]}},
  {"waitPayload":{"name":"daemon"}},
  {"runPayload":{"name":"slow","binary":"busybox","args":["sleep","1000"]}},
  {"waitPayload":{"name":"slow","timeoutMs":200}}]}]})";

TEST(Ops, WhatPayloadsDoWrongIsNamed) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const auto [result, record, events] = run(broken, "1n1l2c1t");
  EXPECT_EQ(result.exitCode, 1) << record.findings();
  EXPECT_THAT(record.findings(), HasSubstr("payload three (pid "));
  EXPECT_THAT(record.findings(), HasSubstr("ended: exit code 3, not exit code 0; it printed:\nwhy"));
  EXPECT_THAT(record.findings(), HasSubstr("payload slow did not end within 200 ms and was killed"));
  EXPECT_THAT(record.findings(),
              HasSubstr("teardown-incomplete: cgroup /sys/fs/cgroup/ktstr/b still had pid "));
  EXPECT_EQ(workersOf(record, "spin").size(), 1U) << "judged all the same";
}

TEST(Ops, WhatCannotMeanAnythingIsRefusedBeforeBoot) {
  const auto refused = [](const std::string& step, const std::string& scheduler = "eevdf") {
    const Result result = ktstr({"run", "-", "--topology", "1n2l2c1t", "--scheduler", scheduler},
                                {.input = R"({"name":"x","steps":[)" + step + "]}"});
    EXPECT_EQ(result.exitCode, 2);
    EXPECT_LT(result.seconds, 10);
    return result.err;
  };
  const std::string spin = R"("work":[{"type":{"spinWait":{}}}])";
  EXPECT_THAT(refused(R"({"cgroups":[{"name":"a",)" + spin + R"(}],"ops":[{"detachScheduler":null}]})"),
              HasSubstr("steps[0].ops[0].detachScheduler: no scheduler is attached at this point"));
  EXPECT_THAT(
      refused(
          R"({"cgroups":[{"name":"a","work":[{"affinity":{"smtSiblingPair":null},"type":{"spinWait":{}}}]}]})"),
      HasSubstr("no core of 1n2l2c1t has two threads"));
  EXPECT_THAT(refused(R"({"cgroups":[{"name":"a",)" + spin +
                      R"(}],"ops":[{"runPayload":{"name":"p","binary":"no-such-program"}}]})"),
              HasSubstr("payload-not-found"));
}

}  // namespace
}  // namespace ktstr::testing
