// Every failure has its name, soon after the fact, and leaves nothing behind.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <ostream>
#include <thread>

#include "protocol/dump.capnp.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/text.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

struct Failure {
  const char* what;
  std::vector<std::string> words;
  const char* finding;
  rpc::Outcome outcome;
  // The snapshot that is made for it; "": not looked at. The guest's report may come while the monitor makes
  // that of an error, and is one more then.
  const char* dump = "";
};

void PrintTo(const Failure& failure, std::ostream* out) {
  *out << failure.what;
}

std::string faultName(const ::testing::TestParamInfo<Failure>& test) {
  return test.param.what;
}

class Fault : public ::testing::TestWithParam<Failure> {};

TEST_P(Fault, IsNamed) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const Failure& failure = GetParam();
  for (const auto& word : failure.words) {
    if (word.rfind("scx_", 0) == 0) {
      KTSTR_NEED_SCHEDULER(word);
    }
  }
  std::vector<std::string> words = {"run", scenario("basic"), "--format", "jsonl", "--topology", "1n1l2c1t"};
  words.insert(words.end(), failure.words.begin(), failure.words.end());
  const Result result = ktstr(words);
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  EXPECT_TRUE(record.hasFinding(failure.finding)) << record.findings();
  EXPECT_EQ(record->getVerdict().getOutcome(), failure.outcome) << record.findings();
  EXPECT_EQ(result.exitCode, record->getVerdict().getExitCode());
  EXPECT_NE(result.exitCode, 0);
  EXPECT_TRUE(record->hasExit() && record->getExit().getDetail().size() > 0)
      << "of a machine that was stopped, too";
  EXPECT_TRUE(descendants().empty());
  if (*failure.dump == '\0') return;
  if (const auto trouble = record.trouble()) GTEST_SKIP() << *trouble;
  const auto dumps = record.snapshots(rpc::DumpReason::FAILURE);
  EXPECT_EQ(std::count(dumps.begin(), dumps.end(), failure.dump), 1)
      << dumps.size() << ", first " << (dumps.empty() ? "none" : dumps.front());
}

const std::string busybox = "/bin/busybox";

INSTANTIATE_TEST_SUITE_P(
    Guest, Fault,
    ::testing::Values(
        Failure{"Panic", {"--append", "ktstr.inject=panic"}, "kernel-panic", rpc::Outcome::FAIL, "panic"},
        Failure{"Hang", {"--append", "ktstr.inject=hang"}, "timeout-scenario", rpc::Outcome::FAIL, "timeout"},
        Failure{"NoInit",
                {"--append", "rdinit=/nowhere root=/dev/none"},
                "no-init",
                rpc::Outcome::INFRASTRUCTURE},
        Failure{
            "WorkerCrash", {"--append", "ktstr.inject=worker-crash"}, "worker-crashed", rpc::Outcome::FAIL},
        Failure{"WorkerStuck", {"--append", "ktstr.inject=worker-stuck"}, "worker-stuck", rpc::Outcome::FAIL},
        Failure{
            "MailboxFull", {"--append", "ktstr.inject=flood"}, "mailbox-full", rpc::Outcome::INCONCLUSIVE},
        Failure{"SchedulerDiesAtStart",
                {"--scheduler", busybox, "--", "false"},
                "scheduler-died-at-start",
                rpc::Outcome::FAIL,
                "scheduler-ended"},
        Failure{"SchedulerNeverAttaches",
                {"--scheduler", busybox, "--attach-timeout", "1s", "--", "sleep", "60"},
                "scheduler-not-attached",
                rpc::Outcome::FAIL,
                "guest-failure"},
        Failure{"SchedulerStalls",
                {"--scheduler", "scx_qmap", "--duration", "20s", "--", "-t", "1"},
                "scheduler-stalled",
                rpc::Outcome::FAIL,
                "scheduler-error"},
        Failure{"SchedulerErrs",
                {"--scheduler", "scx_qmap", "--duration", "10s", "--", "-e", "50"},
                "scheduler-exited",
                rpc::Outcome::FAIL,
                "scheduler-error"}),
    faultName);

pid_t findDescendant(const std::string& comm) {
  for (int i = 0; i < 500; i++) {
    for (const std::string& line : descendants()) {
      if (line.find(" " + comm) != std::string::npos) return std::stoi(line);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return -1;
}

TEST(Failure, KernelWithoutSchedExtRefusesASchedulerByNameButRunsEevdf) {
  KTSTR_NEED_KERNEL("debian:6.12");
  const Result refused = ktstr({"run", scenario("basic"), "--kernel", "debian:6.12", "--scheduler", busybox});
  EXPECT_EQ(refused.exitCode, 2);
  EXPECT_NE(refused.err.find("sched-ext-unsupported"), std::string::npos) << refused.err;
  const Result eevdf = ktstr({"run", scenario("basic"), "--kernel", "debian:6.12", "--format", "jsonl"});
  ASSERT_FALSE(eevdf.out.empty()) << eevdf.err;
  EXPECT_EQ(eevdf.exitCode, 0) << Record(eevdf.out).findings();
}

TEST(Failure, KernelWithoutBtfRefusesASchedulerByNameButRunsEevdf) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory directory;
  const std::string path = ktstr({"kernel", "path", "debian:7.3", "vmlinux"}).out;
  std::string image = readFile(path.substr(0, path.find('\n')));
  const std::string section(".BTF\0", 5);  // in the section name table
  for (size_t at = 0; (at = image.find(section, at)) != std::string::npos; at++) image.replace(at, 4, ".XTF");
  const std::string kernel = directory.file("vmlinux", image);
  const Result refused = ktstr({"run", scenario("basic"), "--kernel", kernel, "--scheduler", busybox});
  EXPECT_EQ(refused.exitCode, 2);
  EXPECT_NE(refused.err.find("sched-ext-unsupported"), std::string::npos) << refused.err;
  const Result eevdf = ktstr({"run", scenario("basic"), "--kernel", kernel, "--format", "jsonl"});
  ASSERT_FALSE(eevdf.out.empty()) << eevdf.err;
  EXPECT_GT(Record(eevdf.out)->getWorkers().size(), 0u);
  EXPECT_EQ(ktstr({"kernel", "rm", kernel}).exitCode, 0) << "the user's cache shall not keep it";
}

// An orchestrator that is gone cannot clean up: its children must, by themselves.
TEST(Failure, KilledOrchestratorLeavesNoProcess) {
  KTSTR_NEED_KERNEL("debian:7.3");
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);  // orphans become ours, so that descendants() sees them
  const TemporaryDirectory state;
  Background run({"run", scenario("basic"), "--duration", "30s"},
                 {.environment = {"KTSTR_STATE_DIR=" + state.path()}});
  ASSERT_GT(findDescendant("qemu-system-x86"), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  run.signal(SIGKILL);
  EXPECT_EQ(run.wait(10).exitCode, 128 + SIGKILL);
  for (int i = 0; i < 200 && !descendants().empty(); i++)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(descendants().empty()) << descendants().front();
  while (waitpid(-1, nullptr, WNOHANG) > 0) continue;
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

// Whether the workers of a run that keeps its records below `state` begin.
bool workBegins(const std::string& state) {
  for (int i = 0; i < 3000; i++) {
    std::error_code changing;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(state, changing)) {
      if (entry.path().filename() == "events.jsonl" &&
          readFile(entry.path()).find("stepStarted") != std::string::npos)
        return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// The record of a run whose verdict must be that the host starved it.
Record starvedRecord(Background& run) {
  const Result result = run.wait(60);
  EXPECT_FALSE(result.out.empty()) << result.err;
  Record record(result.out);
  EXPECT_TRUE(record.hasFinding("host-starved")) << record.findings();
  EXPECT_NE(record.findings().find("the host gave vCPU "), std::string::npos) << record.findings();
  EXPECT_EQ(record->getVerdict().getOutcome(), rpc::Outcome::INCONCLUSIVE) << record.findings();
  EXPECT_EQ(result.exitCode, 3);
  EXPECT_TRUE(descendants().empty());
  return record;
}

// `ktstr snapshot` of the run that is being made: the only one, or by how its id begins.
void expectSnapshotOnDemand(const Options& options) {
  const Result first = ktstr({"snapshot", "--format", "jsonl"}, options);
  ASSERT_EQ(first.exitCode, 0) << first.err;
  capnp::MallocMessageBuilder message;
  fromJson(first.out, message.initRoot<rpc::Dump>());
  const auto dump = message.getRoot<rpc::Dump>().asReader();
  EXPECT_EQ(dump.getName(), "demand");
  EXPECT_EQ(dump.getReason(), rpc::DumpReason::DEMAND);
  EXPECT_GT(dump.getFrozenNs(), 0u) << dump.getNotFrozen().cStr();
  EXPECT_GT(dump.getTasks().size(), 20u);
  const Result named = ktstr({"snapshot", "2", "--name", "again"}, options);  // ids begin with the year
  EXPECT_EQ(named.exitCode, 0) << named.err;
  EXPECT_EQ(named.out.find("snapshot again (demand), frozen for "), 0u) << named.out.substr(0, 200);
  const Result unknown = ktstr({"snapshot", "none"}, options);
  EXPECT_EQ(unknown.exitCode, 2);
  EXPECT_NE(unknown.err.find("run-not-found"), std::string::npos) << unknown.err;
}

class HostThatDoesNotRunTheMachine : public ::testing::TestWithParam<const char*> {};

// The VMM's engine is not run by the host for three seconds: whoever waited that long did not wait for the
// scheduler.
TEST_P(HostThatDoesNotRunTheMachine, IsNamedAndNotTheScheduler) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const std::string scheduler = GetParam();
  const TemporaryDirectory state;
  const Options options{.environment = {"KTSTR_STATE_DIR=" + state.path()}};
  std::vector<std::string> words = {"run", scenario("basic"), "--format", "jsonl", "--duration",
                                    "5s",  "--topology",      "1n1l2c1t"};
  if (!scheduler.empty()) {
    KTSTR_NEED_SCHEDULER(scheduler);
    words.insert(words.end(), {"--scheduler", scheduler});
  }
  Background run(words, options);
  ASSERT_TRUE(workBegins(state.path()));
  const pid_t engine = findDescendant("qemu-system-x86");
  ASSERT_GT(engine, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  if (!scheduler.empty()) expectSnapshotOnDemand(options);
  kill(engine, SIGSTOP);
  std::this_thread::sleep_for(std::chrono::seconds(3));
  kill(engine, SIGCONT);
  const Record record = starvedRecord(run);
  if (!scheduler.empty()) {
    EXPECT_EQ(record.snapshots(rpc::DumpReason::DEMAND), (std::vector<std::string>{"demand", "again"}));
  }
}

INSTANTIATE_TEST_SUITE_P(Under, HostThatDoesNotRunTheMachine, ::testing::Values("", "scx_simple"),
                         [](const ::testing::TestParamInfo<const char*>& test) {
                           return std::string(*test.param == '\0' ? "Eevdf" : "Simple");
                         });

pid_t findThread(pid_t process, const std::string& name) {
  for (const auto& task : std::filesystem::directory_iterator(text("/proc/", process, "/task"))) {
    if (readFile(task.path() / "comm").starts_with(name)) return std::stoi(task.path().filename());
  }
  return -1;
}

// A thread that the host does not run, while its process goes on.
class StoppedThread {
 public:
  explicit StoppedThread(pid_t thread) : thread_(thread) {
    int status = 0;
    stopped_ = ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) == 0 &&
               ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) == 0 &&
               waitpid(thread, &status, __WALL) == thread && WIFSTOPPED(status);
    // It may have been on its way to take a signal, which it gets in the end.
    if (stopped_ && status >> 16 != PTRACE_EVENT_STOP) signal_ = WSTOPSIG(status);
  }
  ~StoppedThread() {
    if (!stopped_ || ptrace(PTRACE_DETACH, thread_, nullptr, signal_) == 0) return;
    waitpid(thread_, nullptr, __WALL | WNOHANG);  // it was killed, and is ours to bury
  }
  bool stopped() const { return stopped_; }

 private:
  pid_t thread_;
  bool stopped_ = false;
  intptr_t signal_ = 0;
};

// One vCPU of two gets nothing; the other waits for its locks and answers, well fed.
TEST(Failure, HostThatStarvesOneVcpuIsNamedWithTheVcpuAndNotTheScheduler) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory state;
  Background run(
      {"run", scenario("basic"), "--format", "jsonl", "--duration", "5s", "--topology", "1n1l2c1t"},
      {.environment = {"KTSTR_STATE_DIR=" + state.path()}});
  ASSERT_TRUE(workBegins(state.path()));
  const pid_t vcpu = findThread(findDescendant("qemu-system-x86"), "CPU 1/TCG");
  ASSERT_GT(vcpu, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it shall be at work
  {
    const StoppedThread starved(vcpu);
    if (!starved.stopped() && errno == EPERM) GTEST_SKIP() << "no thread may be stopped with ptrace here";
    ASSERT_TRUE(starved.stopped()) << strerror(errno);
    std::this_thread::sleep_for(std::chrono::seconds(4));
  }
  const Record record = starvedRecord(run);
  const auto vcpus = record->getMonitor().getVcpus();
  ASSERT_EQ(vcpus.size(), 2u);
  EXPECT_GT(vcpus[1].getStarvedMs(), 2000) << record.findings();
}

// A process of a run that is killed, and what the verdict must call it.
using Victim = std::pair<const char*, const char*>;

std::string killName(const ::testing::TestParamInfo<Victim>& test) {
  std::string name = test.param.first;
  name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
  return name;
}

class Kill : public ::testing::TestWithParam<Victim> {};

TEST_P(Kill, IsNamedAndLeavesNothingBehind) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory state;
  const auto [comm, finding] = GetParam();
  Background run({"run", scenario("basic"), "--format", "jsonl", "--duration", "5s"},
                 {.environment = {"KTSTR_STATE_DIR=" + state.path()}});
  ASSERT_GT(findDescendant("qemu-system-x86"), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));  // past the look at QEMU's version
  const pid_t victim = findDescendant(comm);
  ASSERT_GT(victim, 0) << comm;
  kill(victim, SIGKILL);
  const auto killed = std::chrono::steady_clock::now();
  const Result result = run.wait(60);
  const double after = std::chrono::duration<double>(std::chrono::steady_clock::now() - killed).count();
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  EXPECT_TRUE(record.hasFinding(finding)) << record.findings();
  EXPECT_NE(result.exitCode, 0);
  if (std::string(comm) != "ktstr-monitor") {
    EXPECT_LT(after, 10) << "named too late";
  }
  EXPECT_TRUE(descendants().empty());
}

INSTANTIATE_TEST_SUITE_P(Of, Kill,
                         ::testing::Values(Victim{"qemu-system-x86", "vmm-killed"},
                                           Victim{"ktstr-vmm-tcg", "vmm-killed"},
                                           Victim{"ktstr-monitor", "monitor-died"}),
                         killName);

// What is stopped answers nobody: the run ends by its own limits, and ends what is stopped.
TEST(Failure, StoppedVmmHoldsNoRun) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory state;
  Background run({"run", scenario("basic"), "--format", "jsonl", "--duration", "500ms"},
                 {.environment = {"KTSTR_STATE_DIR=" + state.path()}});
  ASSERT_GT(findDescendant("qemu-system-x86"), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));  // past the look at QEMU's version
  const pid_t vmm = findDescendant("ktstr-vmm-tcg");
  ASSERT_GT(vmm, 0);
  kill(vmm, SIGSTOP);
  const Result result = run.wait(90);
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  EXPECT_NE(record->getVerdict().getOutcome(), rpc::Outcome::FAIL) << record.findings();
  EXPECT_TRUE(record.hasFinding("vmm-killed")) << record.findings();
  EXPECT_TRUE(descendants().empty());
}

// A signal, and how many seconds into the run it comes.
using Signal = std::tuple<int, double>;

std::string interruptName(const ::testing::TestParamInfo<Signal>& test) {
  return (std::get<0>(test.param) == SIGINT ? "Int" : "Term") + std::to_string(test.index);
}

class Interrupt : public ::testing::TestWithParam<Signal> {};

TEST_P(Interrupt, EndsTheRunByNameAndLeavesNothing) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const auto [number, seconds] = GetParam();
  const TemporaryDirectory state;
  Background run({"run", scenario("basic"), "--format", "jsonl", "--duration", "10s"},
                 {.environment = {"KTSTR_STATE_DIR=" + state.path()}});
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  run.signal(number);
  const Result result = run.wait(20);
  // The earliest may come before main(): then there was nothing yet that could say so.
  const bool beforeItBegan = seconds < 0.1 && result.exitCode == 128 + number && result.err.empty();
  if (!beforeItBegan) {
    EXPECT_EQ(result.exitCode, 4) << result.err;
    EXPECT_TRUE(result.err.find("interrupted") != std::string::npos ||
                Record(result.out).hasFinding("interrupted"))
        << result.err;
  }
  EXPECT_LT(result.seconds, 8);
  EXPECT_TRUE(descendants().empty());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(state.path())) {
    EXPECT_EQ(entry.path().filename().string().rfind(".partial", 0), std::string::npos) << entry.path();
  }
}

INSTANTIATE_TEST_SUITE_P(At, Interrupt,
                         ::testing::Combine(::testing::Values(SIGINT, SIGTERM),
                                            ::testing::Values(0.02, 0.3, 2.0, 5.0)),
                         interruptName);

TEST(Failure, FullDiskLosesTheRecordButNotTheVerdict) {
  KTSTR_NEED_KERNEL("debian:7.3");
  if (geteuid() != 0) GTEST_SKIP() << "needs root to mount a small tmpfs";
  const TemporaryDirectory state;
  if (mount("none", state.path().c_str(), "tmpfs", 0, "size=16k") != 0)
    GTEST_SKIP() << "cannot mount a tmpfs here";
  const Result result = ktstr({"run", scenario("basic"), "--format", "jsonl", "--duration", "500ms"},
                              {.environment = {"KTSTR_STATE_DIR=" + state.path()}});
  const bool empty = std::filesystem::is_empty(state.path() + "/runs");
  umount(state.path().c_str());
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  EXPECT_TRUE(record.hasFinding("disk-full")) << record.findings();
  EXPECT_EQ(result.exitCode, 4) << record.findings();
  EXPECT_GT(record->getWorkers().size(), 0u);
  EXPECT_TRUE(empty) << "something was left behind";
}

}  // namespace
}  // namespace ktstr::testing
