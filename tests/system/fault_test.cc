// A scheduler that is meant to fail (tests/schedulers/scx_fault): each fault is named with its reason, and
// blamed on nothing else.
#include <gtest/gtest.h>

#include <capnp/message.h>

#include <algorithm>
#include <ostream>
#include <regex>

#include "orchestrator/library/series.h"
#include "protocol/dump.capnp.h"
#include "protocol/json.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

constexpr const char* anyone = "?";
constexpr int anyCpu = -2;

struct Fault {
  const char* what;
  const char* duration;
  std::vector<std::string> words;  // for scx_fault
  const char* finding = "";        // the only name of findings; "": it passes
  std::string message = "";        // a regular expression for it
  std::string cgroup = "";         // whom it names; "": nobody
  int cpu = -1;
  std::string watchdog = "";  // timeout that the run sets; the words give one of 4 s
  const char* exitKind = "";  // that the dump of the failure shows; "": not looked at
  // The snapshot of the failure, a regular expression; "": none. That of an error is the monitor's, who sees
  // it while the scheduler's queues are still as they were.
  const char* dump = "";
};

void PrintTo(const Fault& fault, std::ostream* out) {
  *out << fault.what;
}

std::string nameOf(const ::testing::TestParamInfo<Fault>& test) {
  return test.param.what;
}

// The dump that the monitor made when the kernel gave the scheduler up.
rpc::Dump::Reader dumpOfError(const Record& record, capnp::MallocMessageBuilder& message) {
  const Result shown = ktstr({"record", "show", record->getDirectory().cStr(), "--snapshot",
                              "scheduler-error", "--format", "jsonl"});
  EXPECT_EQ(shown.exitCode, 0) << shown.err;
  fromJson(shown.out, message.initRoot<rpc::Dump>());
  return message.getRoot<rpc::Dump>().asReader();
}

// What the monitor copied, against what the kernel itself said and what the scheduler's variables say.
void expectDump(const Fault& fault, const Record& record, rpc::Dump::Reader dump) {
  const auto exit = dump.getScheduler().getExit();
  EXPECT_STREQ(exit.getKindName().cStr(), fault.exitKind);
  EXPECT_STREQ(dump.getScheduler().getOpsName().cStr(), record->getSchedulerOps().cStr());
  EXPECT_NE(record.findings().find(exit.getMessage().cStr()), std::string::npos)
      << exit.getMessage().cStr() << "\n"
      << record.findings();
  EXPECT_GT(exit.getBacktrace().size(), 2u);
  EXPECT_TRUE(dump.getFrozenNs() > 0 || dump.getNotFrozen().size() > 0);
  unsigned users = 0, queued = 0;
  for (const auto dsq : dump.getDsqs()) {
    users += dsq.getKind() == rpc::DsqKind::USER;
    queued += dsq.getNr();
    if (dump.getFrozenNs() > 0 && dsq.getIncomplete().size() == 0) {
      EXPECT_EQ(dsq.getTasks().size(), dsq.getNr()) << "DSQ " << dsq.getId();
    }
  }
  EXPECT_EQ(users, 3u);  // SHARED_DSQ, LOST_DSQ, SLOW_DSQ
  EXPECT_GT(queued, 0u);
  EXPECT_EQ(dump.getCpus().size(), 2u);
  EXPECT_GT(dump.getTasks().size(), 20u);
  EXPECT_EQ(dump.getCgroups().size(), 4u);  // /, /ktstr, left, right
}

// The task that the scheduler forgot: the kernel's message, the scheduler's variable, the queue and the task
// agree.
void expectForgottenTask(rpc::Dump::Reader dump) {
  const std::string message = dump.getScheduler().getExit().getMessage().cStr();
  std::smatch match;
  ASSERT_TRUE(std::regex_search(message, match, std::regex(R"(\[(\d+)\] failed to run)"))) << message;
  const int pid = std::stoi(match[1]);
  unsigned maps = 0;
  for (const auto map : dump.getMaps()) {
    if (!std::string(map.getName().cStr()).ends_with(".bss")) continue;
    ++maps;
    EXPECT_NE(std::string(map.getEntries()[0].getValue().cStr()).find("\"victimPid\":" + match[1].str()),
              std::string::npos)
        << map.getEntries()[0].getValue().cStr();
  }
  EXPECT_EQ(maps, 1u);
  unsigned found = 0;
  for (const auto dsq : dump.getDsqs()) {
    for (const auto task : dsq.getTasks()) {
      if (task.getPid() != pid) continue;
      ++found;
      if (dump.getScheduler().getBypassDepth() == 0) {
        EXPECT_EQ(dsq.getId(), 1u) << "LOST_DSQ";
      }
    }
  }
  EXPECT_EQ(found, 1u) << pid;
  for (const auto task : dump.getTasks()) {
    if (task.getPid() != pid) continue;
    EXPECT_TRUE(task.getOnDsq());
    EXPECT_GE(task.getRunnableMs(), 1000);
    EXPECT_STREQ(task.getCgroup().cStr(), "/ktstr/left");
    EXPECT_STREQ(task.getSchedClass().cStr(), "ext");
  }
}

class Named : public ::testing::TestWithParam<Fault> {};

TEST_P(Named, WithItsReasonAndNothingElse) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCX_FAULT();
  const Fault& fault = GetParam();
  const bool fails = *fault.finding != '\0';
  std::vector<std::string> words = {
      "run",          scenario("fault"), "--format",   "jsonl",       "--topology", "1n1l2c1t", "--duration",
      fault.duration, "--kernel",        "debian:7.3", "--scheduler", scxFault(),   "--"};
  if (!fails) words.insert(words.end() - 1, {"--snapshots", "3"});
  if (!fault.watchdog.empty()) words.insert(words.end() - 1, {"--watchdog-timeout", fault.watchdog});
  words.insert(words.end(), fault.words.begin(), fault.words.end());
  const Result result = ktstr(words);
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  for (const char* lack : {"host-starved", "timer-lost", "stale-breakpoint"}) {
    if (record.hasFinding(lack)) GTEST_SKIP() << "the host did not run the machine: " << record.findings();
  }

  EXPECT_EQ(record->getVerdict().getOutcome(), fails ? rpc::Outcome::FAIL : rpc::Outcome::PASS)
      << record.findings();
  EXPECT_EQ(result.exitCode, fails ? 1 : 0);
  unsigned found = 0;
  for (auto finding : record->getVerdict().getFindings()) {
    if (finding.getOutcome() == rpc::Outcome::PASS) continue;  // a remark, as of a run cut short
    ++found;
    EXPECT_STREQ(finding.getName().cStr(), fault.finding) << record.findings();
    EXPECT_TRUE(std::regex_search(finding.getMessage().cStr(), std::regex(fault.message)))
        << record.findings();
    EXPECT_TRUE(fault.cgroup == anyone || fault.cgroup == finding.getCgroup().cStr()) << record.findings();
    EXPECT_TRUE(fault.cpu == anyCpu || fault.cpu == finding.getCpu()) << record.findings();
  }
  EXPECT_EQ(found > 0, fails) << record.findings();
  EXPECT_STREQ(record->getSchedulerOps().cStr(), "fault");
  EXPECT_EQ(record->getWatchdog().size(), fault.watchdog.empty() ? 0u : 1u);
  for (const auto write : record->getWatchdog()) {
    EXPECT_STREQ(write.getFailure().cStr(), "") << write.getProblem().cStr();
    EXPECT_EQ(write.getBeforeMs(), 4000u);
    EXPECT_EQ(write.getReadBackMs(), 1500u);
  }
  if (!fails) {
    const SampleSeries series = seriesOf(*record);
    EXPECT_EQ(series.size(), 3u);
    EXPECT_TRUE(series.stats<uint64_t>("asks").strictlyIncreasing());
  }
  EXPECT_TRUE(descendants().empty());
  const auto dumps = record.snapshots(rpc::DumpReason::FAILURE);
  ASSERT_EQ(dumps.empty(), *fault.dump == '\0');
  ASSERT_TRUE(dumps.empty() || std::any_of(dumps.begin(), dumps.end(),
                                           [&](const std::string& name) {
                                             return std::regex_match(name, std::regex(fault.dump));
                                           }))
      << dumps.front();
  if (fault.what == std::string("SlowDispatch")) {
    EXPECT_EQ(record.snapshots(rpc::DumpReason::VIOLATION), std::vector<std::string>{"scheduler-stalled"});
  }
  if (*fault.exitKind == '\0') return;
  capnp::MallocMessageBuilder message;
  const auto dump = dumpOfError(record, message);
  expectDump(fault, record, dump);
  if (fault.what == std::string("StarveTask")) expectForgottenTask(dump);
}

INSTANTIATE_TEST_SUITE_P(
    Fault, Named,
    ::testing::Values(
        Fault{"None", "1500ms", {"--stats"}},
        Fault{"StarveTask",
              "10s",
              {"--fault", "starve-task", "--cgroup", "left", "--after-ms", "1000", "--timeout-ms", "1000"},
              "scheduler-stalled",
              "runnable task stall.*failed to run for.*which is (spin|burst).[0-2]. in cgroup \"left\"",
              "left",
              -1,
              "",
              "SCX_EXIT_ERROR_STALL",
              "scheduler-error"},
        Fault{"StarveCgroup",
              "4500ms",
              {"--fault", "starve-cgroup", "--cgroup", "right", "--after-ms", "1000", "--ms", "20000"},
              "worker-gap",
              "(spin|burst).0. in cgroup \"right\" .*made no progress for",
              "right",
              0},
        Fault{"StarveCpu",
              "2s",
              {"--fault", "starve-cpu", "--cpu", "1"},
              "cpu-starved",
              "CPU 1 got nothing to run under scx_fault.*3 workers .*spin in cgroup \"left\"",
              "",
              1},
        Fault{"Stall",
              "10s",
              {"--fault", "stall", "--cgroup", "right", "--after-ms", "3000", "--timeout-ms", "4000"},
              "scheduler-stalled",
              "runnable task stall.*(failed to run|failed to check in) for [12]\\.",
              anyone,
              anyCpu,
              "1500ms",
              "",
              "scheduler-error"},
        Fault{"WrongCpu",
              "10s",
              {"--fault", "wrong-cpu", "--cgroup", "right", "--after-ms", "500"},
              "scheduler-exited",
              "target CPU 1 not allowed for .*which is (spin|burst).0. in cgroup \"right\"",
              "right",
              -1,
              "",
              "",
              "scheduler-error"},
        Fault{
            "SlowDispatch",
            "3s",
            {"--fault", "slow-dispatch", "--cpu", "1", "--ms", "800"},
            "scheduler-stalled",
            "CPU (1 was busy .*clock stood still|0 was busy .*clock stood still, and with it that of CPU 1)",
            "",
            anyCpu},
        Fault{"ErrorExit",
              "10s",
              {"--fault", "error-exit", "--cgroup", "right", "--after-ms", "500"},
              "scheduler-exited",
              "\\(scx_bpf_error\\).*scx_fault gives up on ",
              anyone,
              -1,
              "",
              "SCX_EXIT_ERROR_BPF",
              "scheduler-error"},
        Fault{"Crash",
              "10s",
              {"--fault", "crash-loop", "--after-ms", "1000"},
              "scheduler-exited",
              "left while the scenario ran: the process ended with SIGSEGV",
              "",
              -1,
              "",
              "",
              "scheduler-ended|guest-failure"},  // whichever the guest saw first
        Fault{"CrashLoop",
              "10s",
              {"--fault", "crash-loop", "--loop", "--after-ms", "1000"},
              "scheduler-exited",
              "left while the scenario ran: fault .* is no longer attached",
              "",
              -1,
              "",
              "",
              "scheduler-ended|guest-failure"},
        Fault{"Pin",
              "1s",
              {"--fault", "pin", "--comm", "free", "--cpu", "1"},
              "affinity-changed",
              "left/burst.0. .* may run on CPUs 1, and was set to 0-1$",
              "left",
              -1,
              "",
              "",
              "guest-failure"}),
    nameOf);

}  // namespace
}  // namespace ktstr::testing
