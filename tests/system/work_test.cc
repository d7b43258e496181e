// What names each work type, seen in the reports of real runs: several types to a boot. The work types are
// one by one in guest/work/types_test.cc; here a guest's kernel schedules them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <sstream>
#include <utility>

#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Report = rpc::WorkerReport::Reader;
using Cpus = std::set<uint32_t>;

class WorkRun {
 public:
  WorkRun(const std::string& scenarioName, const std::string& topology)
      : result_(
            ktstr({"run", scenario("work/" + scenarioName), "--topology", topology, "--format", "jsonl"})),
        record_(result_.out) {
    if (starved()) return;
    EXPECT_EQ(record_->getVerdict().getOutcome(), rpc::Outcome::PASS) << record_.findings() << result_.err;
    for (const Report report : record_->getWorkers()) checkOne(report);
  }
  bool starved() const { return record_.trouble().has_value(); }

  // All workers of one work group, by index.
  std::vector<Report> of(uint32_t step, const std::string& cgroup, const std::string& work) const {
    std::vector<Report> found;
    for (const Report report : record_->getWorkers()) {
      if (report.getStep() == step && report.getCgroup() == cgroup && report.getWork() == work)
        found.push_back(report);
    }
    std::sort(found.begin(), found.end(), [](Report a, Report b) { return a.getIndex() < b.getIndex(); });
    if (found.empty()) throw std::runtime_error("no report of " + cgroup + "/" + work);
    return found;
  }
  // Of a payload.
  std::string output(const std::string& payload) const {
    for (const auto report : record_->getPayloads()) {
      if (payload == report.getName().cStr()) return report.getOutput().cStr();
    }
    return "no payload " + payload;
  }
  Report one(uint32_t step, const std::string& cgroup, const std::string& work) const {
    return of(step, cgroup, work).at(0);
  }

 private:
  // Whatever a worker does, it stops within 100 ms of being told, not counted what it waited for a CPU.
  void checkOne(Report report) const {
    SCOPED_TRACE(std::string(report.getCgroup().cStr()) + "/" + report.getWork().cStr());
    EXPECT_TRUE(report.getExited().isClean());
    EXPECT_EQ(report.getErrors(), 0U)
        << report.getLastErrorCall().cStr() << ", errno " << report.getLastErrno();
    EXPECT_GT(report.getStopNs(), 0U);
    EXPECT_TRUE(report.getStopDelayValid());
    EXPECT_LE(report.getStopNs() - report.getStopDelayNs(), 100'000'000U);
    EXPECT_TRUE(report.getKernelMigrationsValid());
    EXPECT_GE(report.getKernelMigrations(), report.getMigrations());
    EXPECT_GE(report.getMigrations() + 1, report.getCpusSeen().size());
    EXPECT_TRUE(report.getRunDelayValid());
    EXPECT_GT(report.getMinorFaults(), 0U);
  }

  Result result_;
  Record record_;
};

// What a starved host makes of a run proves nothing either way.
#define KTSTR_NEED_HOST(run) \
  if ((run).starved()) GTEST_SKIP() << "the host is starved"

Cpus cpusOf(const std::vector<Report>& reports) {
  Cpus cpus;
  for (const Report report : reports) cpus.insert(report.getCpusSeen().begin(), report.getCpusSeen().end());
  return cpus;
}

uint64_t difference(uint64_t a, uint64_t b) {
  return a > b ? a - b : b - a;
}

// How many operations took longer.
uint64_t longerThan(Report report, uint64_t ns) {
  uint64_t count = 0;
  for (const auto bucket : report.getOpDuration()) count += bucket.getUpperNs() > ns ? bucket.getCount() : 0;
  return count;
}

// The upper bound of the bucket of the shortest operation: what it takes when nobody is in the way.
uint64_t shortestOpNs(Report report) {
  for (const auto bucket : report.getOpDuration()) {
    if (bucket.getCount() > 0) return bucket.getUpperNs();
  }
  return 0;
}

uint64_t pagesOf(Report report) {
  uint64_t sum = 0;
  for (const auto pages : report.getNumaPages()) sum += pages.getPages();
  return sum;
}

// What was seen of each task from outside, by its comm: the payload "looks" of churn.json.
struct Looks {
  std::set<std::string> nice, policy, cgroup;
};
std::map<std::string, Looks> looksOf(const std::string& output) {
  std::map<std::string, Looks> looks;
  std::istringstream words(output);
  for (std::string comm, nice, policy, cgroup; words >> comm >> nice >> policy >> cgroup;) {
    Looks& one = looks[comm];
    one.nice.insert(nice);
    one.policy.insert(policy);
    one.cgroup.insert(cgroup.substr(cgroup.rfind('/') + 1));
  }
  return looks;
}

void expectInTurns(const std::vector<Report>& workers) {
  for (const Report worker : workers) {
    EXPECT_LE(difference(worker.getIterations(), workers[0].getIterations()), 1U);
    EXPECT_GT(worker.getIterations(), 3U);
    EXPECT_GT(worker.getWakeSamples(), 0U);
    EXPECT_LE(worker.getWakeSamples(), worker.getIterations() + 1);
  }
}

// `cgroup`: of all three, or "" for one each.
void expectPairsIn(const WorkRun& run, uint32_t step, bool threads, const std::string& cgroup = "") {
  SCOPED_TRACE(step);
  const auto of = [&](const char* own, const char* work) {
    return run.of(step, cgroup.empty() ? own : cgroup, work);
  };
  const auto pipe = of("p", "pipeIo"), cache = of("c", "cachePipe"), storm = of("s", "signalStorm");
  expectInTurns(pipe);
  expectInTurns(cache);
  for (const Report worker : storm) EXPECT_GT(worker.getEvents(), 0U) << "no signal was handled";
  for (const auto& pair : {pipe, cache, storm}) {
    EXPECT_NE(pair[0].getTid(), pair[1].getTid());
    EXPECT_EQ(pair[0].getPid() == pair[1].getPid(), threads);
    EXPECT_EQ(pair[0].getPid() == pair[0].getTid(), !threads);
  }
  for (const Report worker : cache) {
    ASSERT_EQ(worker.getNumaPages().size(), 1U);
    EXPECT_EQ(worker.getNumaPages()[0].getPages(), 8U);  // 32 KiB
  }
}

TEST(Work, PairsWakeEachOtherAsProcessesThreadsAndInOneProcess) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const WorkRun run("pairs", "1n1l4c1t");
  KTSTR_NEED_HOST(run);
  const auto pingPong = run.of(0, "a", "futexPingPong");
  expectInTurns(pingPong);
  EXPECT_EQ(cpusOf({pingPong[0]}), Cpus{0});
  EXPECT_EQ(cpusOf({pingPong[1]}), Cpus{1}) << "they did not wake each other across CPUs";
  const auto asymmetric = run.of(0, "b", "asymmetricWaker");
  EXPECT_EQ(asymmetric[0].getWakeSamples(), 0U);
  EXPECT_GT(asymmetric[1].getWakeSamples(), 0U);
  EXPECT_LE(asymmetric[1].getIterations(), asymmetric[0].getIterations() + 1);
  const std::string classes = "\n" + run.output("classes");
  EXPECT_THAT(classes, HasSubstr("\n" + std::to_string(asymmetric[0].getTid()) + " 3\n"))
      << "not SCHED_BATCH";
  EXPECT_THAT(classes, HasSubstr("\n" + std::to_string(asymmetric[1].getTid()) + " 5\n")) << "not SCHED_IDLE";
  expectPairsIn(run, 1, false);
  expectPairsIn(run, 2, true);
  expectPairsIn(run, 3, true, "all");
  const uint32_t process = run.one(3, "all", "pipeIo").getPid();
  for (const char* work : {"cachePipe", "signalStorm"}) EXPECT_EQ(run.one(3, "all", work).getPid(), process);
  const std::string names = run.output("names");
  EXPECT_THAT(names, HasSubstr("/proc/" + std::to_string(process) + "/comm tenant\n"));
  for (const Report worker : run.of(3, "all", "signalStorm")) {
    EXPECT_THAT(names, HasSubstr("/task/" + std::to_string(worker.getTid()) + "/comm hand\n"));
  }
}

TEST(Work, OneWakesManyAndManyWantOneThing) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const WorkRun run("wakeups", "1n1l4c1t");
  KTSTR_NEED_HOST(run);
  for (const auto& [cgroup, work] : {std::pair("fan", "futexFanOut"), std::pair("compute", "fanOutCompute"),
                                     std::pair("herd", "thunderingHerd")}) {
    SCOPED_TRACE(work);
    const auto all = run.of(0, cgroup, work);
    for (const Report woken : std::vector(all.begin() + 1, all.end())) {
      EXPECT_GT(woken.getWakeSamples(), 0U);
      EXPECT_LE(woken.getIterations(), all[0].getIterations()) << "woken more often than anybody woke it";
    }
  }
  EXPECT_LE(run.one(0, "herd", "thunderingHerd").getIterations(), 20U) << "more than its batches";
  EXPECT_EQ(run.one(0, "fan", "futexFanOut").getWakeSamples(), 0U);
  const Report computes = run.of(0, "compute", "fanOutCompute")[1];
  EXPECT_EQ(computes.getOpSamples(), computes.getIterations());
  EXPECT_EQ(computes.getWorkUnits(), computes.getIterations() * 2);

  expectInTurns(run.of(1, "pipe", "wakeChain"));
  expectInTurns(run.of(1, "futex", "wakeChain"));

  const auto epoll = run.of(2, "epoll", "epollStorm");
  EXPECT_GT(epoll[1].getEvents() + epoll[2].getEvents(), 0U);
  EXPECT_LE(epoll[1].getEvents() + epoll[2].getEvents(), epoll[0].getEvents());
  EXPECT_GT(epoll[1].getWakeSamples() + epoll[2].getWakeSamples(), 0U);

  const auto queue = run.of(2, "queue", "producerConsumerImbalance");
  const uint64_t pushed = queue[0].getEvents() + queue[1].getEvents();
  EXPECT_GT(queue[2].getEvents(), 0U);
  EXPECT_GE(pushed + 2, queue[2].getEvents());
  EXPECT_LE(pushed, queue[2].getEvents() + 16 + 2) << "more in the queue than fits";
  // A million pushes a second against one slow consumer: they wait for it, and the queue is never near empty.
  EXPECT_GE(pushed, queue[2].getEvents() + 16 / 2) << "the producers did not keep it full";
  for (const Report producer : {queue[0], queue[1]}) EXPECT_GT(producer.getVoluntarySwitches(), 5U);

  uint64_t waits = 0;
  for (const Report contender : run.of(2, "lock", "mutexContention")) {
    EXPECT_GT(contender.getIterations(), 0U) << "never got the lock";
    EXPECT_GE(contender.getOpSamples(), contender.getIterations());
    waits += contender.getWakeSamples();
  }
  EXPECT_GT(waits, 0U) << "nobody had to wait";
}

TEST(Work, RealTimeStarvesPreemptsAndInvertsPriorities) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const WorkRun run("realtime", "1n1l2c1t");
  KTSTR_NEED_HOST(run);
  const auto starve = run.of(0, "a", "rtStarvation");
  EXPECT_GT(starve[0].getCpuNs(), 4 * starve[1].getCpuNs()) << "SCHED_NORMAL was not starved";
  EXPECT_GT(starve[1].getMaxGapNs(), starve[0].getMaxGapNs());

  // Each time the real-time task wakes, one of the others has to go.
  const auto preempt = run.of(1, "a", "preemptStorm");
  EXPECT_GE(preempt[1].getInvoluntarySwitches() + preempt[2].getInvoluntarySwitches(),
            preempt[0].getIterations() / 2);
  EXPECT_GE(preempt[0].getWakeSamples() + 1, preempt[0].getIterations());

  // Without inheritance who is high waits for the lock as long as medium spins (20 ms), with it as long as
  // low holds it.
  const Report plain = run.one(2, "a", "priorityInversion"), pi = run.one(3, "a", "priorityInversion");
  const uint64_t longPlain = longerThan(plain, 10'000'000), longPi = longerThan(pi, 10'000'000);
  EXPECT_GT(longPlain, 5U) << "nobody was in the way of who is high";
  EXPECT_GT(longPlain, 2 * longPi) << "the wait is not bounded by what low does";
  EXPECT_GT(pi.getIterations(), plain.getIterations());

  // On every CPU they do not keep the agent from ending the step.
  EXPECT_EQ(run.of(4, "a", "rtStarvation").size(), 3U);
}

Cpus nodesOf(Report report) {
  Cpus nodes;
  for (const auto pages : report.getNumaPages()) nodes.insert(pages.getNode());
  return nodes;
}

TEST(Work, TasksChangeThemselvesAndTheirMemoryMoves) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const WorkRun run("churn", "2n2l2c1t");
  KTSTR_NEED_HOST(run);
  const Report forks = run.one(0, "a", "forkExit");
  EXPECT_EQ(forks.getEvents(), forks.getIterations());
  EXPECT_GT(forks.getWakeSamples(), 0U);
  EXPECT_GE(run.one(0, "a", "niceSweep").getEvents() + 1, run.one(0, "a", "niceSweep").getIterations());
  EXPECT_GE(run.one(0, "a", "policyChurn").getEvents() + 1, run.one(0, "a", "policyChurn").getIterations());
  auto looks = looksOf(run.output("looks"));
  EXPECT_GE(looks["(sweep)"].nice.size(), 5U) << run.output("looks");
  EXPECT_GE(looks["(policy)"].policy.size(), 3U) << run.output("looks");
  EXPECT_EQ(looks["(mover)"].cgroup, (std::set<std::string>{"b-churn-0", "b-churn-1"}));
  const Report affinity = run.one(0, "a", "affinityChurn");
  EXPECT_EQ(cpusOf({affinity}), (Cpus{0, 1, 2, 3}));
  EXPECT_GT(affinity.getMigrations(), affinity.getEvents() / 4) << "three of four changes are to another CPU";
  const Report moving = run.one(0, "b", "cgroupChurn");
  EXPECT_GT(moving.getEvents(), 1U);
  for (const uint32_t cpu : cpusOf({moving})) EXPECT_GE(cpu, 2U) << "a sibling without its cpuset";
  for (const uint32_t cpu : cpusOf({run.one(0, "c", "aligned")})) EXPECT_GE(cpu, 2U) << "not on the LLC";

  const Report numa = run.one(1, "a", "numaMigrationChurn");
  EXPECT_GT(numa.getEvents(), 1U);
  const Cpus seen = cpusOf({numa});
  EXPECT_LT(*seen.begin(), 2U);
  EXPECT_GE(*seen.rbegin(), 2U);
  const Report there = run.one(1, "a", "there"), around = run.one(1, "a", "around");
  EXPECT_EQ(nodesOf(there), Cpus{1}) << "its memory is not where it was bound";
  EXPECT_EQ(pagesOf(there), 1536U);
  EXPECT_GT(around.getEvents(), 1U);
  EXPECT_EQ(nodesOf(around).size(), 1U);
  const Report faults = run.one(1, "a", "pageFaultChurn");
  const double perIteration =
      static_cast<double>(faults.getMinorFaults()) / static_cast<double>(faults.getIterations());
  EXPECT_GT(perIteration, 200) << "256 touches of 1024 pages fault 226 in on average";
  if (faults.getIterations() > 10) {
    EXPECT_LT(perIteration, 260);
  }
}

TEST(Work, WorkersThatNeedNoOther) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const WorkRun run("alone", "1n1l2c2t");
  KTSTR_NEED_HOST(run);
  const auto siblings = run.of(0, "siblings", "smtSiblingSpin");
  for (const uint32_t thread : {0U, 1U}) {
    EXPECT_EQ(cpusOf({siblings[thread]}), Cpus{2 + thread}) << "they were not on both threads of the core";
    EXPECT_EQ(siblings[thread].getOpSamples(), siblings[thread].getIterations());
  }

  // Who yields gives the CPU away each time, who spins does not.
  const Report spin = run.one(0, "one", "spinWait"), yield = run.one(0, "one", "yieldHeavy"),
               mixed = run.one(0, "one", "mixed");
  EXPECT_GT(yield.getInvoluntarySwitches(), yield.getIterations() / 2);
  EXPECT_GT(mixed.getInvoluntarySwitches(), mixed.getIterations() / 2);
  EXPECT_LT(yield.getCpuNs(), spin.getCpuNs());
  const Report pressure = run.one(0, "cache", "cachePressure"), polite = run.one(0, "cache", "cacheYield");
  EXPECT_LT(polite.getCpuNs(), pressure.getCpuNs());
  for (const Report cache : {pressure, polite}) EXPECT_EQ(pagesOf(cache), 8U) << "32 KiB";

  EXPECT_STREQ(run.one(1, "a", "scalar").getDetail().cStr(), "scalar");
  EXPECT_THAT(run.one(1, "a", "widest").getDetail().cStr(), StartsWith("vec"));
  for (const char* width : {"scalar", "widest"}) {
    const Report hot = run.one(1, "a", width);
    EXPECT_EQ(hot.getWorkUnits(), hot.getIterations() * 65536);
    EXPECT_LE(hot.getVoluntarySwitches(), 10U) << "arithmetic alone does not wait";
  }
  // Both phases are there: 512 KiB are touched at random, and a hundred thousand steps of arithmetic take
  // longer than one.
  const Report hot = run.one(1, "a", "hot"), cold = run.one(1, "a", "cold");
  for (const Report variance : {hot, cold}) {
    EXPECT_EQ(variance.getOpSamples(), variance.getIterations());
    EXPECT_EQ(variance.getWorkUnits(), variance.getIterations() * 8 * 1024);
    EXPECT_EQ(pagesOf(variance), 128U);
  }
  EXPECT_GT(shortestOpNs(hot), shortestOpNs(cold));

  // A round of each takes at least so long, whatever else goes on.
  for (const auto& [name, roundUs] :
       {std::pair("bursty", 25'000), std::pair("idleChurn", 6'000), std::pair("sequence", 9'500)}) {
    SCOPED_TRACE(name);
    const Report sleeper = run.one(2, "a", name);
    EXPECT_LE(sleeper.getIterations() - 1, sleeper.getWallNs() / (uint64_t(roundUs) * 1000));
    // But for those whose end had come before they began: the worker was off the CPU for so long.
    EXPECT_GE(sleeper.getWakeSamples() + 1 + sleeper.getIterations() / 10, sleeper.getIterations());
    EXPECT_GE(sleeper.getVoluntarySwitches() + 1 + sleeper.getIterations() / 10, sleeper.getIterations());
    EXPECT_LT(sleeper.getCpuNs(), sleeper.getWallNs());
  }
  const Report bursty = run.one(2, "a", "bursty"), sequence = run.one(2, "a", "sequence");
  EXPECT_LT(bursty.getCpuNs(), bursty.getWallNs() / 2) << "5 of 25 ms are bursts";
  EXPECT_GE(sequence.getWakeSamples() + 2 + sequence.getIterations() / 10, 2 * sequence.getIterations())
      << "a sleep and at least one write to the disk in each round";
  const Report writes = run.one(2, "disk", "ioSyncWrite"), reads = run.one(2, "disk", "ioRandRead"),
               convoy = run.one(2, "disk", "ioConvoy");
  EXPECT_STREQ(writes.getDetail().cStr(), "tmpfs file, O_SYNC");
  for (const Report direct : {reads, convoy}) EXPECT_STREQ(direct.getDetail().cStr(), "tmpfs file, O_DIRECT");
  EXPECT_EQ(writes.getWorkUnits(), writes.getIterations() * 16);
  EXPECT_EQ(reads.getWorkUnits(), reads.getIterations());
  EXPECT_EQ(convoy.getWorkUnits(), convoy.getIterations() * 2);
  for (const Report disk : {writes, reads, convoy})
    EXPECT_GT(disk.getVoluntarySwitches(), 0U) << "it never waited";
}

}  // namespace
}  // namespace ktstr::testing
