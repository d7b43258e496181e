// Whole runs on KVM: real kernels, ktstr-vmm on the real /dev/kvm. Where /dev/kvm cannot boot Linux, `make
// check-kvm` runs this inside the nested bed (tests/tools/nested-bed.sh).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "guest/topology.h"
#include "protocol/file.h"
#include "tests/system/frozen_linux.h"
#include "tests/system/harness.h"
#include "tests/system/topology_expectations.h"

namespace ktstr::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

struct Case {
  const char* name;
  const char* kernel;
  const char* topology;
  bool scheduled = false;  // under scx_simple
};

void PrintTo(const Case& test, std::ostream* out) {
  *out << test.name;
}

// Why Linux cannot run on /dev/kvm here, or nothing.
std::optional<std::string> whyNoKvm() {
  static const std::string line = ktstr({"probe"}).out;
  if (line.find("\"kvm\":\"hardware\"") != std::string::npos) return std::nullopt;
  return "/dev/kvm boots no Linux here (make check-kvm makes one that does): " + line;
}

#define KTSTR_NEED_KVM()                \
  if (const auto reason = whyNoKvm()) { \
    GTEST_SKIP() << *reason;            \
  }

Result run(const std::string& scenarioName, std::vector<std::string> words) {
  words.insert(words.begin(), {"run", scenario(scenarioName), "--accel", "kvm", "--format", "jsonl",
                               "--boot-timeout", "180s"});
  return ktstr(words, {.timeoutSeconds = 240});
}

// A KVM that is itself emulated runs vCPUs so slowly that limits of time say nothing; all else does.
bool nested() {
  return getenv("KTSTR_TEST_NESTED") != nullptr;
}

// What a nested guest may come to because two CPUs emulate all of it; none of them is the machine's fault.
constexpr const char* findingsOfSlowness[] = {"host-starved",
                                              "timer-lost",
                                              "limit-not-judged",
                                              "cpu-starved",
                                              "imbalance",
                                              "local-dsq-depth",
                                              "scheduler-stalled",
                                              "worker-starved",
                                              "worker-unfair",
                                              "worker-gap",
                                              "worker-stuck",
                                              "timeout-scheduler",
                                              "timeout-scenario",
                                              "timeout-collect",
                                              "teardown-incomplete",
                                              "kernel-warning",
                                              "worker-report-missing",
                                              "monitor-missing"};

void expectSound(const Record& record) {
  if (!nested()) {
    EXPECT_EQ(record->getVerdict().getOutcome(), rpc::Outcome::PASS) << record.findings();
    return;
  }
  for (const auto finding : record->getVerdict().getFindings()) {
    const std::string name = finding.getName().cStr();
    EXPECT_NE(std::find(std::begin(findingsOfSlowness), std::end(findingsOfSlowness), name),
              std::end(findingsOfSlowness))
        << record.findings();
  }
}

class Kvm : public ::testing::TestWithParam<Case> {};

TEST_P(Kvm, BootsAndSeesTheDeclaredTopology) {
  KTSTR_NEED_KVM();
  KTSTR_NEED_KERNEL(GetParam().kernel);
  const Topology topology = parseTopology(GetParam().topology);
  std::vector<std::string> words = {"--kernel", GetParam().kernel, "--topology", GetParam().topology};
  if (GetParam().scheduled) {
    // Inside the nested bed no scheduler can be built; one comes along.
    const char* built = getenv("KTSTR_TEST_SCX_SIMPLE");
    if (built == nullptr) {
      KTSTR_NEED_SCHEDULER("scx_simple");
    }
    words.insert(words.end(),
                 {"--scheduler", built != nullptr ? built : "scx_simple", "--attach-timeout", "60s"});
  }
  words.insert(words.end(), {"--duration", "1s"});  // in which a monitor that hardly runs takes a sample
  const Result result = run(GetParam().scheduled ? "demo" : "basic", words);
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  EXPECT_STREQ(record->getAccelerator().cStr(), "kvm");
  expectSound(record);
  ASSERT_EQ(record->getGuest().getCpusOnline(), topology.vcpus()) << record.findings();
  expectFacts(topology, record->getMemoryMib(), record->getGuest());
  // The monitor found the kernel in the memory of a VM whose engine it has never met.
  EXPECT_STREQ(record->getMonitorAttach().getRelease().cStr(), record->getGuest().getRelease().cStr());
  EXPECT_GT(record->getMonitor().getValidSamples(), 0u);
  if (GetParam().scheduled) {
    EXPECT_STREQ(record->getSchedulerOps().cStr(), "simple") << record.findings();
    EXPECT_GT(record->getMonitor().getScxEnabledSamples(), 0u) << record.findings();
    for (auto worker : record->getWorkers()) EXPECT_GT(worker.getIterations(), 0u);
  }
  EXPECT_TRUE(descendants().empty());
}

INSTANTIATE_TEST_SUITE_P(Debian, Kvm,
                         ::testing::Values(Case{"V73Vcpus1", "debian:7.3", "1n1l1c1t"},
                                           Case{"V73Vcpus2Simple", "debian:7.3", "1n2l1c1t", true},
                                           Case{"V73Vcpus4", "debian:7.3", "2n2l1c2t"},
                                           Case{"V618Vcpus1", "debian:6.18", "1n1l1c1t"},
                                           Case{"V618Vcpus2", "debian:6.18", "1n1l2c1t"},
                                           Case{"V618Vcpus4", "debian:6.18", "1n2l1c2t"}),
                         [](const auto& test) { return std::string(test.param.name); });

class TopologyOnKvm : public ::testing::TestWithParam<std::string> {};

TEST_P(TopologyOnKvm, IsWhatTheGuestSees) {
  KTSTR_NEED_KVM();
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_PATIENCE(GetParam());
  expectGuestSees(GetParam(), "kvm");
}

INSTANTIATE_TEST_SUITE_P(Proven, TopologyOnKvm, ::testing::ValuesIn(provenTopologies),
                         [](const auto& test) { return nameOfTopology(test.param); });

TEST(KvmRun, FrozenLinuxGoesOnAsIfNothingHadBeen) {
  KTSTR_NEED_KVM();
  KTSTR_NEED_KERNEL("debian:7.3");
  expectFrozenLinuxGoesOn("ktstr-vmm", "debian:7.3");
}

// What the shell commands say that run in the guest in place of a scheduler; the run ends with them.
std::string said(const std::string& commands, std::vector<std::string> words, const std::string& state) {
  words.insert(words.end(), {"--scheduler", "busybox", "--", "sh", "-c", commands});
  setenv("KTSTR_STATE_DIR", state.c_str(), 1);
  const Result result = run("basic", words);
  EXPECT_FALSE(result.out.empty()) << result.err;
  if (result.out.empty()) return "";
  const Record record(result.out);
  const std::string log =
      readFileIfThere(std::string(record->getDirectory().cStr()) + "/scheduler.log").value_or("");
  return log + "\nended: " + std::to_string(static_cast<int>(record->getExit().getKind())) + "\n" +
         record.findings();
}

TEST(KvmRun, PowerOffInTheGuestEndsTheMachineWhoseClockIsKvms) {
  KTSTR_NEED_KVM();
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory state;
  const std::string all = said(
      "/bin/busybox head /sys/devices/system/clocksource/clocksource0/*; /bin/busybox sleep 1; "
      "/bin/busybox poweroff -f",
      {"--topology", "1n1l1c1t"}, state.path());
  EXPECT_THAT(all,
              HasSubstr("\nended: " + std::to_string(static_cast<int>(rpc::ExitKind::POWER_OFF)) + "\n"));
  // Where the host's time stamp counter can be relied on, Linux prefers it.
  EXPECT_THAT(all, ContainsRegex("available_clocksource <==\n[a-z_ -]*kvm-clock"));
  EXPECT_THAT(all, ContainsRegex(nested() ? "current_clocksource <==\nkvm-clock"
                                          : "current_clocksource <==\n(kvm-clock|tsc)"));
}

// Its APIC id is 292, which needs a split irqchip: the console's line is led to it by an I/O APIC of ours.
TEST(KvmRun, TheLastOf125CpusGoesOnlineWorksAndIsInterrupted) {
  KTSTR_NEED_KVM();
  KTSTR_NEED_KERNEL("debian:7.3");
  const Topology topology = parseTopology("1n5l5c5t");
  const uint32_t last = topology.vcpus() - 1, apicId = topology.apicId(last);
  ASSERT_GT(apicId, 254u);
  const TemporaryDirectory state;
  const std::string cpu = std::to_string(last);
  const std::string all =
      said("b=/bin/busybox; cd /sys/devices/system/cpu; echo before $($b cat online); echo 1 > cpu" + cpu +
               "/online; echo after $($b cat online); $b taskset -c " + cpu +
               " $b sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; /bin/busybox sleep 0.2; "
               "set -- $(/bin/busybox cat /proc/self/stat); shift 38; echo worked on $1 $i'; "
               "$b awk '/^processor/ {p = $3} /^apicid/ {print \"apicid of\", p, $3}' /proc/cpuinfo; "
               "exec 5<>/dev/ttyS0; irq=$($b awk '/ttyS0/ {print $1 + 0}' /proc/interrupts); echo " +
               cpu +
               " > /proc/irq/$irq/smp_affinity_list; for i in 1 2 3 4 5 6 7 8; do "
               "echo this is line $i for the console >&5; done; $b sleep 0.5; echo line leads to "
               "$($b cat /proc/irq/$irq/effective_affinity_list); "
               "$b awk '/ttyS0/ {print \"interrupted\", ($3 > 0), $0}' /proc/interrupts; "
               "$b dmesg | $b grep -iE 'x2apic|smpboot|CPU topo|8259|legacy|ttyS|ioapic'",
           {"--topology", topology.toString(), "--memory", "768M", "--append", "maxcpus=1"}, state.path());
  EXPECT_THAT(all, HasSubstr("before 0\n"));
  EXPECT_THAT(all, HasSubstr("after 0," + cpu + "\n"));
  EXPECT_THAT(all, HasSubstr("worked on " + cpu + " 20000\n"));
  EXPECT_THAT(all, HasSubstr("apicid of " + cpu + " " + std::to_string(apicId) + "\n"));
  EXPECT_THAT(all, HasSubstr("line leads to " + cpu + "\n"));
  EXPECT_THAT(all, HasSubstr("\ninterrupted 1 "));
}

// Threads of the process, by /proc, that run under SCHED_FIFO with that priority.
std::vector<pid_t> realTimeThreads(pid_t process, int priority) {
  std::vector<pid_t> threads;
  std::error_code gone;
  const std::filesystem::path tasks = "/proc/" + std::to_string(process) + "/task";
  for (std::filesystem::directory_iterator task(tasks, gone), end; !gone && task != end;
       task.increment(gone)) {
    const pid_t thread = atoi(task->path().filename().c_str());
    sched_param parameters{};
    if (sched_getscheduler(thread) == SCHED_FIFO && sched_getparam(thread, &parameters) == 0 &&
        parameters.sched_priority == priority) {
      threads.push_back(thread);
    }
  }
  return threads;
}

std::optional<pid_t> childNamed(const std::string& name) {
  for (const std::string& line : descendants()) {  // "PID COMM"
    if (line.substr(line.find(' ') + 1) == name) return atoi(line.c_str());
  }
  return std::nullopt;
}

std::string lineOf(const std::string& content, const std::string& start) {
  const size_t at = content.find(start);
  return at == std::string::npos ? "" : content.substr(at, content.find('\n', at) - at);
}

// A number in /proc or /sys, changed for as long as this lives.
class Setting {
 public:
  Setting(std::string path, const std::function<long(long before)>& value)
      : path_(std::move(path)), before_(now()) {
    std::ofstream(path_) << value(before_) << std::flush;
  }
  ~Setting() { std::ofstream(path_) << before_ << std::flush; }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;
  long now() const { return atol(readFileIfThere(path_).value_or("0").c_str()); }

 private:
  std::string path_;
  long before_;
};

size_t usableCpus() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<size_t>(CPU_COUNT(&set)) : 0;
}

// A run in performance mode, and what /proc showed of its VMM meanwhile.
struct Seen {
  std::vector<pid_t> vcpuThreads;  // under SCHED_FIFO 1
  size_t servingThreads = 0;       // under SCHED_FIFO 2
  cpu_set_t cpus{};                // of the first vCPU thread
  std::string pageSize;            // of guest RAM
  Result result;
};

// Hardly anything to do: vCPUs that stay on their CPUs all the same do so because HLT keeps them there.
constexpr const char* idle = R"({"name":"idle","durationMs":1000,"steps":[{"cgroups":[{"name":"a","work":[
  {"type":{"bursty":{"burstUs":1000,"sleepUs":100000}}}]}]}]})";

std::vector<std::string> idleRun(const std::string& directory, const std::string& mode) {
  const std::string file = directory + "/idle.json";
  std::ofstream(file) << idle;
  return {"run",  file,         "--accel", "kvm",      mode,    "--topology",     "1n1l1c1t", "--memory",
          "448M", "--duration", "1s",      "--format", "jsonl", "--boot-timeout", "180s"};
}

Seen runInPerformanceMode() {
  const TemporaryDirectory directory;
  Background running(idleRun(directory.path(), "--performance-mode"));
  Seen seen;
  for (int tries = 0; tries < 600 && seen.vcpuThreads.empty(); ++tries) {
    usleep(50'000);
    const auto vmm = childNamed("ktstr-vmm");
    if (vmm) seen.vcpuThreads = realTimeThreads(*vmm, 1);
    if (seen.vcpuThreads.empty()) continue;
    sched_getaffinity(seen.vcpuThreads.front(), sizeof seen.cpus, &seen.cpus);
    seen.servingThreads = realTimeThreads(*vmm, 2).size();
    const std::string smaps =
        readFileIfThere("/proc/" + std::to_string(*vmm) + "/smaps", 1 << 24).value_or("");
    seen.pageSize = lineOf(smaps.substr(std::min(smaps.size(), smaps.find("ktstr-ram"))), "KernelPageSize:");
  }
  seen.result = running.wait(240);
  return seen;
}

TEST(KvmRun, PerformanceModeIsWhatTheHostSees) {
  KTSTR_NEED_KVM();
  KTSTR_NEED_KERNEL("debian:7.3");
  if (usableCpus() < 2) GTEST_SKIP() << "one CPU: none is left for the harness";
  const Setting pages("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
                      [](long before) { return std::max(256L, before); });
  if (pages.now() < 256) GTEST_SKIP() << "no 256 huge pages can be made here";
  const Setting throttling("/proc/sys/kernel/sched_rt_runtime_us", [](long) { return -1L; });
  Seen seen = runInPerformanceMode();
  // QEMU's SVM on several threads loses the state of a nested guest at times, in whatever mode.
  const auto lost = [&] { return seen.result.out.find("triple fault") != std::string::npos; };
  for (int again = 0; again < 2 && lost() && nested(); ++again) {
    seen = runInPerformanceMode();
  }

  ASSERT_FALSE(seen.result.out.empty()) << seen.result.err;
  const Record record(seen.result.out);
  EXPECT_NE(record->getVerdict().getOutcome(), rpc::Outcome::INFRASTRUCTURE) << record.findings();
  EXPECT_EQ(record->getGuest().getCpusOnline(), 1u) << record.findings();
  const auto facts = record->getPerformance();
  EXPECT_EQ(facts.getMode(), rpc::PerformanceFacts::Mode::PERFORMANCE);
  EXPECT_TRUE(facts.getHaltPoll().isAsHost());
  EXPECT_EQ(facts.getServiceCpus().size() + 1, usableCpus());
  ASSERT_EQ(facts.getCpus().size(), 1u);
  ASSERT_FALSE(seen.vcpuThreads.empty());
  EXPECT_EQ(CPU_COUNT(&seen.cpus), 1);
  EXPECT_TRUE(CPU_ISSET(facts.getCpus()[0], &seen.cpus));
  EXPECT_EQ(seen.servingThreads, 1u) << "the thread that serves goes first";
  EXPECT_EQ(seen.pageSize, "KernelPageSize:     2048 kB");
  EXPECT_TRUE(record->getGuest().getRealTimeHints());
  EXPECT_FALSE(record.hasFinding("performance-not-kept")) << record.findings();
  if (record->getMonitor().getVcpus().size() == 0)
    GTEST_SKIP() << "how long the vCPU was on its CPU was not seen, of "
                 << record->getMonitor().getValidSamples() << " samples: " << record.findings();
  EXPECT_GT(record->getMonitor().getVcpus()[0].getHostShare(), 0.8);
}

// What the share in performance mode means: without it HLT gives the CPU back.
TEST(KvmRun, PerformanceModeIsNotWhatAnIdleVcpuDoesByItself) {
  KTSTR_NEED_KVM();
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory directory;
  const Result result = ktstr(idleRun(directory.path(), "--no-perf-mode"), {.timeoutSeconds = 240});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  if (record->getMonitor().getVcpus().size() == 0)
    GTEST_SKIP() << "how long the vCPU was on its CPU was not seen, of "
                 << record->getMonitor().getValidSamples() << " samples: " << record.findings();
  EXPECT_LT(record->getMonitor().getVcpus()[0].getHostShare(), 0.8);
  EXPECT_FALSE(record->getGuest().getRealTimeHints());
}

}  // namespace
}  // namespace ktstr::testing
