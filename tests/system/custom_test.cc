// Functions of a test's own program as workers in the guest, and what a run makes of its guest. This program
// is the author's: it is packed into the guest for its functions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "orchestrator/library/ktstr.h"
#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/text.h"
#include "tests/system/harness.h"

KTSTR_WORK(turns) {
  while (!worker.stopping()) {
    worker.spin(2048);
    worker.event(2);
    worker.operation(1000);
    worker.iteration(2048);
    worker.sleepUntil(ktstr::monotonicNs() + 1'000'000);
  }
}

KTSTR_WORK(crashes) {
  for (int i = 0; i < 10; i++) worker.iteration();
  raise(SIGSEGV);
}

KTSTR_WORK(hangs) {
  worker.iteration();
  for (;;) pause();
}

KTSTR_WORK(complains) {
  while (!worker.stopping()) {
    worker.iteration();
    worker.sleepUntil(ktstr::monotonicNs() + 1'000'000);
  }
  errno = ENOTTY;
  worker.error("ioctl");
}

KTSTR_WORK(forks) {
  if (fork() == 0) {
    prctl(PR_SET_NAME, "left-behind");
    for (;;) pause();
  }
  while (!worker.stopping()) {
    worker.spin(2048);
    worker.iteration();
  }
}

namespace ktstr::testing {
namespace {

using ::testing::HasSubstr;

// A cgroup of its name with one work group.
std::string cgroup(const std::string& name, const std::string& function, const std::string& more = "") {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  return text(R"({"name":")", name, R"(","work":[{"type":{"custom":{"name":")", function, R"(","program":")",
              program, R"("}})", more, "}]}");
}

Result runIt(const std::string& scenario, std::vector<std::string> words = {}) {
  words.insert(words.begin(),
               {"run", "-", "--kernel", "debian:7.3", "--topology", "1n1l2c1t", "--format", "jsonl"});
  return ktstr(words, {.input = scenario});
}

std::string messageOf(const Record& record, const std::string& finding) {
  for (const auto each : record->getVerdict().getFindings()) {
    if (finding == each.getName().cStr())
      return text(each.getWorker().cStr(), ": ", each.getMessage().cStr());
  }
  return "no such finding";
}

// One that works, as processes and as threads, and one for each way of going wrong; all in one machine.
TEST(Custom, WorksAndWhatGoesWrongHasAName) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const Result result = runIt(text(
      R"({"name":"custom","durationMs":2000,"steps":[{"name":"run","cgroups":[)", cgroup("turns", "turns"),
      ",", cgroup("threads", "turns", R"(,"workers":2,"cloneMode":"thread","comm":"by-name")"), ",",
      cgroup("crashes", "crashes"), ",", cgroup("complains", "complains"), ",", cgroup("hangs", "hangs"), ",",
      cgroup("forks", "forks"), "]}]}"));
  ASSERT_EQ(result.exitCode, 1) << result.out << result.err;
  const Record record(result.out);
  if (const auto trouble = record.trouble()) GTEST_SKIP() << *trouble;
  EXPECT_THAT(messageOf(record, "worker-crashed"),
              HasSubstr("in cgroup \"crashes\" of run was killed by SIGSEGV"));
  EXPECT_THAT(messageOf(record, "worker-call-failed"),
              AllOf(HasSubstr("in cgroup \"complains\""), HasSubstr("the last one ioctl with ENOTTY")));
  EXPECT_THAT(messageOf(record, "worker-stuck"), HasSubstr("in cgroup \"hangs\" of run did not stop"));
  EXPECT_THAT(messageOf(record, "teardown-incomplete"),
              AllOf(HasSubstr("/forks still had pid "), HasSubstr("(left-behind)"), HasSubstr("; killed")));
  int whole = 0;
  for (const auto worker : record->getWorkers()) {
    const std::string_view where = worker.getCgroup().cStr();
    if (where == "crashes") {
      EXPECT_EQ(worker.getIterations(), 10u);
    }
    if (where != "turns" && where != "threads") continue;
    whole++;
    const uint64_t iterations = worker.getIterations();
    EXPECT_TRUE(worker.getExited().isClean()) << record.findings();
    EXPECT_GT(iterations, 10u);
    EXPECT_EQ(worker.getWorkUnits(), 2048 * iterations);
    EXPECT_EQ(worker.getEvents(), 2 * iterations);
    EXPECT_GT(worker.getWakeSamples(), 10u);
    EXPECT_GT(worker.getCpuNs(), 0u);
    EXPECT_GT(worker.getVoluntarySwitches(), 10u);
    EXPECT_GT(worker.getCpusSeen().size(), 0u);
    EXPECT_GT(worker.getStopNs(), 0u);
  }
  EXPECT_EQ(whole, 3);
}

// The guest says itself what was made of it; a function that is not there ends the second step.
TEST(Custom, GuestIsWhatTheWordsAskFor) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory directory;
  const std::string included = directory.file("included", "from the host\n");
  const std::string script =
      "cat /proc/cmdline /etc/ktstr-test/layers.json /include-files/included "
      "/proc/sys/kernel/sched_rt_runtime_us "
      "/sys/kernel/mm/transparent_hugepage/enabled; ls -d /sys/fs/cgroup/tenants/all/spin; true";
  const std::string first = text(
      R"({"name":"first","cgroups":[{"name":"spin","work":[{"type":{"spinWait":{}}}]}],"hold":{"fixedMs":200},)",
      R"("ops":[{"runPayload":{"name":"look","binary":"/bin/sh","args":["-c",")", script,
      R"("]}},{"waitPayload":{"name":"look"}}]})");
  const Result result = runIt(text(R"({"name":"guest","steps":[)", first, R"(,{"name":"second","cgroups":[)",
                                   cgroup("a", "nobody"), "]}]}"),
                              {"--sysctl",         "kernel.sched_rt_runtime_us=900000",
                               "--kernel-arg",     "preempt=full",
                               "--include",        included,
                               "--include",        "cat:/ktstr/bin/cat",
                               "--include",        "ls:/ktstr/bin/ls",
                               "--file",           "/etc/ktstr-test/layers.json={\"layers\":1}\n",
                               "--enable",         "/sys/kernel/mm/transparent_hugepage/enabled=never",
                               "--disable",        "/sys/kernel/mm/transparent_hugepage/enabled=always",
                               "--cgroup-parent",  "/tenants/all",
                               "--cleanup-budget", "1ms"});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  if (const auto trouble = record.trouble()) GTEST_SKIP() << *trouble;
  ASSERT_EQ(record->getPayloads().size(), 1u) << record.findings();
  const std::string said = record->getPayloads()[0].getOutput().cStr();
  EXPECT_THAT(said, HasSubstr(" preempt=full"));
  EXPECT_THAT(said, HasSubstr("{\"layers\":1}\nfrom the host\n900000\n"));
  EXPECT_THAT(said, HasSubstr("[never]"));
  EXPECT_THAT(said, HasSubstr("/sys/fs/cgroup/tenants/all/spin"));
  EXPECT_THAT(
      messageOf(record, "worker-setup-failed"),
      HasSubstr("custom-unknown: no custom function \"nobody\" is registered here; there are: complains, "));
  EXPECT_THAT(messageOf(record, "cleanup-over-budget"), HasSubstr("and may take 1"));
}

TEST(Custom, ProgramMustBeThere) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const Result none =
      runIt(R"({"name":"x","steps":[{"cgroups":[{"name":"a","work":[{"type":{"custom":{"name":"f"}}}]}]}]})");
  EXPECT_EQ(none.exitCode, 2);
  EXPECT_THAT(none.err, HasSubstr("custom-program-missing: custom work of the scenario does not say whose"));
}

}  // namespace
}  // namespace ktstr::testing
