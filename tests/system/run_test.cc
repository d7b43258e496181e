// Whole runs: real kernels under TCG, real schedulers from the kernel's tree.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <ostream>
#include <set>
#include <thread>

#include "orchestrator/library/snapshot.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/text.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

struct Case {
  const char* name;
  const char* kernel;
  const char* scheduler;      // "" = EEVDF
  const char* ops;            // how the kernel calls it
  const char* watchdog = "";  // where this kernel has the timeout; "": the run leaves it alone
};

Result run(const std::string& scenarioName, std::vector<std::string> words, const Options& options = {}) {
  words.insert(words.begin(), {"run", scenario(scenarioName), "--format", "jsonl"});
  return ktstr(words, options);
}

void PrintTo(const Case& test, std::ostream* out) {
  *out << test.name;
}

std::string nameOf(const ::testing::TestParamInfo<Case>& test) {
  return test.param.name;
}

// The scheduler keeps something for each of its tasks, and scx_flatcg for each cgroup, too.
void expectLocalStorage(const Record& record, const Snapshot& snapshot) {
  const bool isFlatcg = record->getSchedulerOps() == "flatcg";
  const SnapshotMap tasks = snapshot.map(isFlatcg ? "task_ctx" : "task_ctx_stor");
  const auto ofTask = [&](int64_t pid) {
    return tasks.find([&](const SnapshotEntry& entry) { return entry.key().get("pid").asI64() == pid; });
  };
  for (const auto worker : record->getWorkers()) ofTask(worker.getTid());
  for (const auto task : snapshot.record().getTasks()) {
    if (task.getSchedClass() != "ext") continue;
    const SnapshotEntry entry = ofTask(task.getPid());
    EXPECT_EQ(entry.key().get("comm").asStr(), task.getComm().cStr());
    if (isFlatcg)
      entry.get("bypassed_at").asU64();
    else
      EXPECT_EQ(entry.get("taskc.pid").asI64(), task.getPid()) << "in the arena of scx_qmap";
  }
  for (const auto cgroup : snapshot.record().getCgroups()) {
    if (!isFlatcg) continue;
    const SnapshotEntry entry = snapshot.map("cgrp_ctx").find([&](const SnapshotEntry& one) {
      return one.key().asStr() == cgroup.getPath().cStr();
    });
    EXPECT_EQ(entry.get("weight").asU64(), cgroup.getWeight()) << cgroup.getPath().cStr();
  }
}

// What the kernel was given to call.
void expectStructOps(const Snapshot& snapshot, const std::string& ops) {
  const SnapshotField given = snapshot.map(ops + "_ops").at(0).get("data");
  EXPECT_EQ(given.get("name").asStr(), ops);
  const std::string prefix = ops == "flatcg" ? "fcg" : ops;
  for (const std::string callback : {"enqueue", "exit"})
    EXPECT_TRUE(given.get(callback).asStr().ends_with(text(" ", prefix, "_", callback)))
        << given.get(callback).asStr();
}

// The kernel's timeout for a runnable task, which the run set to 20 s.
void expectWatchdog(const Record& record, const char* place) {
  ASSERT_EQ(record->getWatchdog().size(), 1u);
  const auto write = record->getWatchdog()[0];
  EXPECT_STREQ(write.getFailure().cStr(), "") << write.getProblem().cStr();
  EXPECT_STREQ(write.getPlace().cStr(), place);
  EXPECT_EQ(write.getBeforeMs(), 30'000u);
  EXPECT_EQ(write.getReadBackMs(), 20'000u);
}

class Kernel : public ::testing::TestWithParam<Case> {};

TEST_P(Kernel, RunsTheDemoScenarioWatchedFromOutside) {
  const Case& test = GetParam();
  KTSTR_NEED_KERNEL(test.kernel);
  if (*test.scheduler != '\0') {
    KTSTR_NEED_SCHEDULER(test.scheduler);
  }
  std::vector<std::string> words = {"--kernel", test.kernel, "--topology", "1n2l2c1t"};
  if (*test.scheduler != '\0') words.insert(words.end(), {"--scheduler", test.scheduler, "--snapshots", "1"});
  if (*test.watchdog != '\0') words.insert(words.end(), {"--watchdog-timeout", "20s"});
  const Result result = run("demo", words);
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  KTSTR_EXPECT_PASS(record);
  EXPECT_EQ(result.exitCode, 0) << record.findings() << result.err;

  // Every worker reported, did something, and stayed where it belongs.
  EXPECT_GE(record->getWorkers().size(), 8u);
  for (auto worker : record->getWorkers()) {
    EXPECT_GT(worker.getIterations(), 0u);
    EXPECT_GT(worker.getWallNs(), 0u);
    std::set<uint32_t> allowed(worker.getCpuset().begin(), worker.getCpuset().end());
    for (uint32_t cpu : worker.getCpusSeen()) EXPECT_EQ(allowed.count(cpu), 1u) << worker.getCgroup().cStr();
  }
  // The monitor saw the same kernel, four CPUs, and what the guest says of its scheduler.
  EXPECT_STREQ(record->getMonitorAttach().getRelease().cStr(), record->getGuest().getRelease().cStr());
  EXPECT_EQ(record->getMonitorAttach().getCpus(), 4u);
  EXPECT_GE(record->getMonitor().getValidSamples(), 5u);
  EXPECT_STREQ(record->getSchedulerOps().cStr(), test.ops);
  if (*test.ops != '\0') {
    EXPECT_GT(record->getMonitor().getScxEnabledSamples(), 0u);
    ASSERT_EQ(record->getMonitor().getOpsNames().size(), 1u);
    EXPECT_STREQ(record->getMonitor().getOpsNames()[0].cStr(), test.ops);
    const std::string dumps = readFile(record->getDirectory().cStr() + std::string("/snapshots.jsonl"));
    const Snapshot snapshot(dumps.substr(0, dumps.find('\n')));  // one that failed has another
    expectStructOps(snapshot, test.ops);
    if (*test.watchdog != '\0') expectWatchdog(record, test.watchdog);
    if (test.ops != std::string("simple")) expectLocalStorage(record, snapshot);
  }
  EXPECT_TRUE(descendants().empty());
}

INSTANTIATE_TEST_SUITE_P(
    Debian, Kernel,
    ::testing::Values(Case{"V73Eevdf", "debian:7.3", "", ""},
                      Case{"V73Simple", "debian:7.3", "scx_simple", "simple", "scx_sched.watchdog_timeout"},
                      Case{"V73Qmap", "debian:7.3", "scx_qmap", "qmap"},
                      Case{"V73Flatcg", "debian:7.3", "scx_flatcg", "flatcg"},
                      Case{"V618Eevdf", "debian:6.18", "", ""},
                      Case{"V618Simple", "debian:6.18", "scx_simple", "simple", "scx_watchdog_timeout"}),
    nameOf);

// Port 0x604, by the name of ACPI's S5.
TEST(Run, PowerOffInTheGuestEndsTheMachine) {
  for (const char* kernel : {"debian:7.3", "debian:6.18"}) {
    KTSTR_NEED_KERNEL(kernel);
    const Result result =
        run("basic", {"--kernel", kernel, "--scheduler", "busybox", "--", "poweroff", "-f"});
    ASSERT_FALSE(result.out.empty()) << result.err;
    const Record record(result.out);
    EXPECT_EQ(record->getExit().getKind(), rpc::ExitKind::POWER_OFF) << record.findings();
    EXPECT_TRUE(record.hasFinding("guest-report-missing")) << record.findings();
  }
}

TEST(Run, MonitorFindsAKernelThatPlacedItselfAtRandom) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const Result result = run("basic", {"--through-bzimage", "--duration", "1s"});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  KTSTR_EXPECT_PASS(record);
  EXPECT_NE(record->getMonitorAttach().getVirtualSlideBytes(), 0u);
  EXPECT_GE(record->getMonitor().getValidSamples(), 5u);
}

TEST(Run, MemoryAboveFourGigabytesIsNotWasted) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const Result result = run("basic", {"--memory", "3G", "--duration", "200ms"});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  EXPECT_GT(record->getGuest().getMemTotalKib(), 2'700'000u);
}

TEST(Run, StoresOneWholeRecord) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory state;
  const Options options{.environment = {"KTSTR_STATE_DIR=" + state.path()}};
  const Result result = run("steps", {"--topology", "1n2l2c1t", "--sample-period", "10ms"}, options);
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record printed(result.out);
  const std::string directory = printed->getDirectory().cStr();
  const Record stored(readFile(directory + "/record.json"));
  EXPECT_EQ(toJson(*stored), toJson(*printed));
  for (const char* file : {"samples.jsonl", "events.jsonl", "console.log", "scenario.json"}) {
    EXPECT_FALSE(readFile(directory + "/" + file).empty()) << file;
  }
  std::set<std::string> phases;
  double scenarioMs = 0;
  for (auto phase : printed->getPhases()) {
    phases.insert(phase.getName().cStr());
    if (phase.getName() == "scenario") scenarioMs = phase.getDurationMs();
  }
  for (const char* phase : {"resolve", "image", "prepare", "kernel", "scenario", "judge"})
    EXPECT_EQ(phases.count(phase), 1u) << phase;
  EXPECT_FALSE(printed->getKernel().getBuildId().size() == 0);
  EXPECT_GT(printed->getHost().getCpus(), 0u);
  // Ten times as many samples as usual, or what a busy host makes of them; a condition lasts as long.
  EXPECT_GT(printed->getMonitor().getSamples(), scenarioMs / 100 * 2);
  for (const auto limit : printed->getLimits()) {
    if (limit.getName() == "sustainedSamples") {
      EXPECT_GE(limit.getValue(), 50);
    }
  }

  const Result list = ktstr({"record", "list"}, options);
  EXPECT_EQ(list.out, std::string(printed->getId().cStr()) + "\n");
  EXPECT_EQ(ktstr({"record", "show", "latest", "--format", "jsonl"}, options).out, result.out);
}

TEST(Run, KeptMemoryCanBeReadLater) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory state;
  const Options options{.environment = {"KTSTR_STATE_DIR=" + state.path()}};
  const Result result = run("basic", {"--keep", "--duration", "500ms"}, options);
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  const Result monitor =
      ktstr({"monitor", "--ram", std::string(record->getDirectory().cStr()) + "/ram.bin", "--count", "1"});
  EXPECT_EQ(monitor.exitCode, 0) << monitor.err;
  EXPECT_NE(monitor.out.find(record->getGuest().getRelease().cStr()), std::string::npos) << monitor.out;
}

TEST(Run, ScenarioComesFromAPipeAndIsPrintedBackIdentically) {
  const std::string first = ktstr({"scenario", "show", scenario("demo"), "--topology", "1n2l2c2t"}).out;
  const std::string second = ktstr({"scenario", "show", "-", "--topology", "1n2l2c2t"}, {.input = first}).out;
  EXPECT_FALSE(first.empty());
  EXPECT_EQ(first, second);
}

// Every process of a run, as the kernel sees it while the machine runs: a filter is installed, nothing can be
// gained.
TEST(Run, EveryProcessIsConfined) {
  KTSTR_NEED_KERNEL("debian:7.3");
  Background run({"run", scenario("basic"), "--duration", "5s"});
  const std::set<std::string> wanted = {"ktstr-orchestra", "ktstr-vmm-tcg", "ktstr-monitor", "ktstr-cache",
                                        "qemu-system-x86"};
  std::map<std::string, std::string> unconfined;
  std::set<std::string> confined;
  for (int i = 0; i < 200; i++) {
    unconfined.clear();
    confined.clear();
    for (const std::string& line : descendants()) {
      const std::string pid = line.substr(0, line.find(' ')), comm = line.substr(line.find(' ') + 1);
      const std::string status = readFileIfThere("/proc/" + pid + "/status").value_or("");
      const bool filtered = status.find("Seccomp:\t2") != std::string::npos &&
                            status.find("NoNewPrivs:\t1") != std::string::npos;
      filtered ? void(confined.insert(comm)) : void(unconfined[comm] = pid);
    }
    // The monitor is the last: it needs the machine's memory first. Others come and go (that of the probe).
    if (std::includes(confined.begin(), confined.end(), wanted.begin(), wanted.end())) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  for (const std::string& comm : wanted) EXPECT_EQ(confined.count(comm), 1u) << comm;
  unconfined.erase("ktstr-vmm-tcg");  // the warden that starts and reaps QEMU
  EXPECT_TRUE(unconfined.empty()) << unconfined.begin()->first;
}

TEST(Run, TwoAtOnceDoNotDisturbEachOther) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const std::vector<std::string> words = {"run", scenario("basic"), "--format", "jsonl", "--duration", "1s"};
  Background first(words), second(words);
  const Result one = first.wait(), two = second.wait();
  ASSERT_FALSE(one.out.empty()) << one.err;
  ASSERT_FALSE(two.out.empty()) << two.err;
  const Record a(one.out), b(two.out);
  EXPECT_STRNE(a->getId().cStr(), b->getId().cStr());
  EXPECT_GT(a->getWorkers().size(), 0u);
  EXPECT_EQ(a->getWorkers().size(), b->getWorkers().size());
  KTSTR_EXPECT_PASS(a);
  KTSTR_EXPECT_PASS(b);
}

}  // namespace
}  // namespace ktstr::testing
