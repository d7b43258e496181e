// The agent as a whole on this machine: real processes, cgroups where cgroup2 is writable, and a mailbox
// whose other end is the test. The kernel's sched_ext directory is a directory of the test, which
// "schedulers" (shell scripts) write to; system tests run the real ones.
#include "guest/agent/agent.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mntent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <thread>

#include "guest/scenario/validate.h"
#include "protocol/fd.h"
#include "protocol/json.h"

// A sanitizer would turn the injected SIGSEGV of a worker into an exit code.
extern "C" const char* __asan_default_options() {  // NOLINT(bugprone-reserved-identifier)
  return "handle_segv=0";
}

namespace ktstr::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Event = rpc::GuestEvent;

std::string cgroupMount() {
  FILE* mounts = setmntent("/proc/mounts", "r");
  std::string found;
  while (const mntent* each = getmntent(mounts)) {
    if (std::string(each->mnt_type) == "cgroup2" && access(each->mnt_dir, W_OK) == 0) found = each->mnt_dir;
  }
  endmntent(mounts);
  return found;
}

// Without cpusets: this machine may not have that controller in cgroup2.
const char* const scenarioText = R"({"name":"x","durationMs":200,"steps":[{
  "cgroups":[
    {"name":"a","work":[{"name":"spin","workers":2,"type":{"spinWait":{}}}]},
    {"name":"p/b","work":[{"workers":2,"type":{"futexPingPong":{"spinIters":64}}}]}],
  "ops":[{"sleepMs":50},{"addCgroup":"late"},{"removeCgroup":"late"},{"stopCgroup":"a"}],
  "hold":{"fraction":1}},
  {"cgroups":[{"name":"a","work":[{"type":{"yieldHeavy":null}}]}],"hold":{"fixedMs":50}}]})";

class AgentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    environment_.cgroupMount = cgroupMount();
    if (environment_.cgroupMount.empty()) GTEST_SKIP() << "no writable cgroup2 mount here";
    char pattern[] = "/tmp/agent_test.XXXXXX";
    directory_ = mkdtemp(pattern);
    environment_.schedExt = directory_ + "/sched_ext";
    environment_.image = directory_;
    write("run", "r1\n");
    write("complete", "");
    auto orders = message_->initRoot<rpc::GuestOrders>();
    orders.setTopology("1n1l2c1t");
    orders.setRunId("r1");
    setScenario(scenarioText);
  }
  void TearDown() override {
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  rpc::GuestOrders::Builder orders() { return message_->getRoot<rpc::GuestOrders>(); }
  void setScenario(const std::string& json) {
    fromJson(json, orders().initScenario());
    resolvePlacement(orders().getScenario(), Topology{1, 1, 2, 1}, orders());
  }
  void write(const std::string& name, const std::string& content) {
    std::ofstream(directory_ + "/" + name) << content;
  }

  // A shell script as scheduler; $1 is the kernel's directory.
  void setScheduler(const std::string& script, uint32_t timeoutMs = 10000) {
    std::filesystem::create_directories(environment_.schedExt + "/root");
    write("sched_ext/state", "disabled\n");
    write("scheduler", "#!/bin/sh\n" + script + "\n");
    std::filesystem::permissions(directory_ + "/scheduler", std::filesystem::perms::owner_all);
    auto out = orders().initScheduler();
    out.setPath(directory_ + "/scheduler");
    out.initArgs(1).set(0, environment_.schedExt);
    out.setAttachTimeoutMs(timeoutMs);
  }

  // Runs the orders and collects all events, with the host's side reading while the guest's works.
  void run(size_t mailboxBytes = size_t{1} << 20, bool read = true) {
    memory_.assign(mailboxBytes / 64, Line{});
    const std::span bytes = std::as_writable_bytes(std::span(memory_));
    const kj::Array<capnp::word> words = capnp::messageToFlatArray(*message_);
    HostMailbox host(bytes, std::as_bytes(std::span(words.begin(), words.size())));
    if (stopAtOnce_) host.requestStop();
    Channel channel(bytes, Fd());
    std::atomic<bool> ended = false;
    std::thread reader([&] {
      while (read && !ended) collect(host);
    });
    runOrders(channel, environment_);
    channel.done();
    ended = true;
    reader.join();
    collect(host);
    EXPECT_EQ(std::filesystem::exists(environment_.cgroupMount + "/ktstr"), expectLeft_)
        << "cgroups are left";
  }

  std::vector<std::string> kinds() const {
    std::vector<std::string> result;
    for (const auto& event : events_) result.push_back(event.substr(0, event.find(' ')));
    return result;
  }
  std::string all() const { return std::accumulate(events_.begin(), events_.end(), std::string()); }

  size_t times(const std::string& words) const {
    const std::string text = all();
    size_t count = 0;
    for (size_t at = 0; (at = text.find(words, at)) != std::string::npos; at++) count++;
    return count;
  }

  Environment environment_;
  std::string directory_;
  bool stopAtOnce_ = false, expectLeft_ = false;
  std::vector<std::string> events_;  // "kind {json}\n"
  std::string letGoAfter_;           // the host lets the guest go on 100 ms after an event of this kind
  uint64_t letGoNs_ = 0, startedNs_ = 0, appliedNs_ = 0;

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };

  void collect(HostMailbox& host) {
    while (const auto bytes = host.next()) {
      capnp::FlatArrayMessageReader reader(kj::arrayPtr(reinterpret_cast<const capnp::word*>(bytes->data()),
                                                        bytes->size() / sizeof(capnp::word)));
      const auto event = reader.getRoot<Event>();
      EXPECT_GT(event.getAtNs(), 0U);
      const capnp::DynamicStruct::Reader dynamic = event;
      std::string kind = "?";
      KJ_IF_MAYBE (field, dynamic.which()) {
        kind = field->getProto().getName().cStr();
      }
      events_.push_back(kind + " " + toJson(event) + "\n");
      if (kind == letGoAfter_) {
        usleep(100'000);
        letGoNs_ = monotonicNs();
        host.letGoOn();
      }
      if (kind == "scenarioStarted") startedNs_ = event.getAtNs();
      if (kind == "opApplied" || kind == "stepEnded") appliedNs_ = event.getAtNs();
    }
    usleep(1000);
  }

  std::unique_ptr<capnp::MallocMessageBuilder> message_ = std::make_unique<capnp::MallocMessageBuilder>();
  std::vector<Line> memory_;
};

TEST_F(AgentTest, RunsAScenario) {
  run();
  EXPECT_THAT(kinds(),
              ElementsAre("ready", "scenarioStarted", "stepStarted", "opApplied", "opApplied", "opApplied",
                          "worker", "worker", "opApplied", "worker", "worker", "stepEnded", "stepStarted",
                          "worker", "stepEnded", "scenarioEnded", "done"))
      << all();
  EXPECT_THAT(all(), HasSubstr(R"("work":"spin","index":1)"));
  EXPECT_THAT(all(), HasSubstr(R"("wakeLatency":[{)"));
  EXPECT_THAT(all(), HasSubstr(R"("done":{"dropped":0})"));
}

TEST_F(AgentTest, NamesACrashedWorkerAndKeepsItsReport) {
  environment_.inject = "worker-crash";
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"workerCrashed","message":"a/spin[0] (pid )"));
  EXPECT_THAT(all(), HasSubstr("killed by SIGSEGV"));
  EXPECT_THAT(all(), HasSubstr(R"("exited":{"signal":11})"));
  EXPECT_EQ(kinds().back(), "done");
}

const char* const threadsText = R"({"name":"x","durationMs":200,"steps":[{"cgroups":[{"name":"a","work":[
  {"name":"spin","workers":3,"cloneMode":"thread","nice":1,"type":{"spinWait":{}}}]}]}]})";

TEST_F(AgentTest, RunsThreadsOfOneProcess) {
  setScenario(threadsText);
  run();
  EXPECT_THAT(kinds(), ElementsAre("ready", "scenarioStarted", "stepStarted", "worker", "worker", "worker",
                                   "stepEnded", "scenarioEnded", "done"))
      << all();
  EXPECT_EQ(times(R"("stopDelayValid":true)"), 3U);
  EXPECT_EQ(times(R"("usageValid":false)"), 0U);
}

TEST_F(AgentTest, CrashOfAProcessEndsAllItsThreads) {
  setScenario(threadsText);
  environment_.inject = "worker-crash";
  run();
  EXPECT_THAT(all(), HasSubstr("and with it its process of 3 workers"));
  EXPECT_THAT(kinds(), ElementsAre("ready", "scenarioStarted", "stepStarted", "failure", "worker", "worker",
                                   "worker", "stepEnded", "scenarioEnded", "done"))
      << all();
  EXPECT_EQ(times(R"("usageValid":false)"), 3U) << all();
}

TEST_F(AgentTest, CgroupsMayBeBelowAParentThatIsMadeAndRemoved) {
  const std::string parent = "/ktstr-parent-" + std::to_string(getpid());
  orders().setCgroupParent(parent + "/inner");
  std::atomic<bool> seen = false;
  std::thread looks([&] {
    for (int i = 0; i < 200 && !seen; i++, usleep(10'000))
      seen = std::filesystem::exists(environment_.cgroupMount + parent + "/inner/a");
  });
  run();
  looks.join();
  EXPECT_TRUE(seen);
  EXPECT_THAT(kinds(), ::testing::Not(::testing::Contains("failure"))) << all();
  EXPECT_FALSE(std::filesystem::exists(environment_.cgroupMount + parent));
}

TEST_F(AgentTest, NamesACustomFunctionThatIsNotThere) {
  setScenario(
      R"({"name":"x","steps":[{"cgroups":[{"name":"a","work":[{"type":{"custom":{"name":"f"}}}]}]}]})");
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"spawnFailed","message":"a/custom: custom-unknown: )"));
  EXPECT_THAT(all(), HasSubstr(R"(no custom function \"f\" is registered here)"));
}

// The cgroups it moves to are there and gone again.
TEST_F(AgentTest, CgroupChurnMoves) {
  setScenario(R"({"name":"x","durationMs":200,"steps":[{"cgroups":[{"name":"a","work":[
                   {"type":{"cgroupChurn":{"cycleMs":10}}}]}]}]})");
  run();
  EXPECT_THAT(all(), HasSubstr(R"("errors":0)"));
  EXPECT_THAT(all(), Not(HasSubstr(R"("events":0)")));
}

TEST_F(AgentTest, NamesAStuckWorkerAndKillsIt) {
  environment_.inject = "worker-stuck";
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"workerStuck","message":"a/spin[0] (pid )"));
  EXPECT_THAT(all(), HasSubstr("state T"));
  EXPECT_THAT(all(), HasSubstr(R"("exited":{"stuck":null})"));
  EXPECT_EQ(kinds().back(), "done");
}

// The host does not read before the end: what fits is there, and the last two events have room set aside.
TEST_F(AgentTest, CountsEventsThatDidNotFit) {
  environment_.inject = "flood";
  run(64 << 10, false);
  EXPECT_THAT(all(), HasSubstr(R"("name":"mailboxFull")"));
  EXPECT_EQ(kinds().back(), "done");
  EXPECT_THAT(all(), Not(HasSubstr(R"("done":{"dropped":0})")));
}

TEST_F(AgentTest, StopsWhenTheHostAsksTo) {
  setScenario(R"({"name":"x","steps":[{"cgroups":[{"name":"a","work":[{}]}],"hold":{"fixedMs":3600000}}]})");
  stopAtOnce_ = true;
  run();
  EXPECT_EQ(kinds().front(), "ready");
  EXPECT_EQ(kinds().back(), "done");
}

TEST_F(AgentTest, RefusesAnotherRunsImage) {
  write("run", "r2\n");
  run();
  EXPECT_THAT(kinds(), ElementsAre("failure", "done"));
  EXPECT_THAT(all(), HasSubstr(R"("name":"imageIncomplete")"));
}

TEST_F(AgentTest, RefusesAnImageThatWasCutOff) {
  std::filesystem::remove(directory_ + "/complete");
  run();
  EXPECT_THAT(all(), HasSubstr("the image was cut off"));
}

TEST_F(AgentTest, RefusesOrdersItDoesNotUnderstand) {
  orders().setTopology("1n0l1c1t");
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"ordersInvalid")"));
}

TEST_F(AgentTest, NamesAnInjectionItDoesNotKnow) {
  environment_.inject = "nonsense";
  run();
  EXPECT_THAT(all(), HasSubstr("ktstr.inject=nonsense is none of"));
}

TEST_F(AgentTest, NamesACgroupTheKernelRefuses) {
  setScenario(R"({"name":"x","durationMs":100,"steps":[
      {"cgroups":[{"name":"a","work":[{"name":"spin","type":{"spinWait":{}}}]},
                  {"name":"b/c","limits":{"cpuWeight":77},"work":[{}]}]}]})");
  if (access((environment_.cgroupMount + "/cpuset.cpus.effective").c_str(), F_OK) == 0) {
    GTEST_SKIP() << "this machine's cgroup2 has the controllers, the scenario would work";
  }
  run();
  EXPECT_THAT(kinds(),
              ElementsAre("ready", "scenarioStarted", "failure", "stepEnded", "scenarioEnded", "done"))
      << all();
  EXPECT_THAT(all(), HasSubstr(R"("name":"cgroupFailed")"));
  EXPECT_THAT(all(), HasSubstr("cpu.weight"));
}

TEST_F(AgentTest, CollectsReportsWhenAnOperationFails) {
  setScenario(R"({"name":"x","durationMs":100,"steps":[
      {"cgroups":[{"name":"a","work":[{"name":"spin","type":{"spinWait":{}}}]}],
       "ops":[{"sleepMs":50},{"setCpuset":{"cgroup":"a","cpuset":{"exact":[0]}}}]}]})");
  if (access((environment_.cgroupMount + "/cpuset.cpus.effective").c_str(), F_OK) == 0) {
    GTEST_SKIP() << "this machine's cgroup2 has the cpuset controller, the operation would work";
  }
  run();
  EXPECT_THAT(kinds(), ElementsAre("ready", "scenarioStarted", "stepStarted", "opApplied", "failure",
                                   "worker", "stepEnded", "scenarioEnded", "done"))
      << all();
  EXPECT_THAT(all(), HasSubstr("cpuset.cpus: No such file or directory"));
}

TEST_F(AgentTest, KeepsTheBackdropAcrossSteps) {
  setScenario(R"({"name":"x","durationMs":100,
      "backdrop":{"cgroups":[{"name":"back","work":[{"name":"steady","type":{"spinWait":{}}}]}],"ops":[{"sleepMs":10}]},
      "steps":[{"cgroups":[{"name":"a","work":[{"name":"spin","type":{"spinWait":{}}}]}],
                "ops":[{"moveAllTasks":{"from":"a","to":"back"}}]},
               {"ops":[{"spawn":{"cgroup":"back","work":{"name":"late","type":{"yieldHeavy":null}}}},
                       {"spawn":{"cgroup":"","work":{"name":"root","type":{"yieldHeavy":null}}}}]}]})");
  run();
  EXPECT_THAT(kinds(),
              ElementsAre("ready", "scenarioStarted", "stepStarted", "opApplied", "stepStarted", "opApplied",
                          "stepEnded", "stepStarted", "opApplied", "opApplied", "worker", "worker",
                          "stepEnded", "worker", "worker", "stepEnded", "scenarioEnded", "done"))
      << all();
  EXPECT_THAT(all(), HasSubstr("moved 1 task from a to back, which has 2 now"));
  EXPECT_THAT(all(), HasSubstr(R"("worker":{"step":4294967295,"cgroup":"back","work":"steady")"));
  EXPECT_THAT(all(), HasSubstr(R"("worker":{"step":0,"cgroup":"a","work":"spin")"))
      << "judged as what it was declared";
}

TEST_F(AgentTest, FreezesAndThaws) {
  setScenario(R"({"name":"x","durationMs":100,"steps":[
      {"cgroups":[{"name":"a","work":[{"name":"spin","type":{"spinWait":{}}}]}],
       "ops":[{"freezeCgroup":"a"},{"sleepMs":300},{"unfreezeCgroup":"a"},{"sleepMs":50},{"freezeCgroup":"a"}]}]})");
  run();
  EXPECT_THAT(all(), HasSubstr("froze a"));
  EXPECT_THAT(all(), HasSubstr("thawed a"));
  EXPECT_THAT(all(), HasSubstr(R"("exited":{})")) << "stopped though it was left frozen";
  EXPECT_THAT(all(), Not(HasSubstr("\"failure\""))) << all();
}

TEST_F(AgentTest, LoopsItsOperations) {
  setScenario(R"({"name":"x","durationMs":300,"steps":[
      {"cgroups":[{"name":"a","work":[{"name":"spin","type":{"spinWait":{}}}]}],
       "ops":[{"addCgroup":"b/c"},{"removeCgroup":"b/c"},{"removeCgroup":"b"}],"hold":{"loop":{"intervalMs":20}}}]})");
  run();
  const std::vector<std::string> seen = kinds();
  const auto applied = std::count(seen.begin(), seen.end(), "opApplied");
  EXPECT_GE(applied, 6);
  EXPECT_EQ(applied % 3, 0) << "a round that has begun is finished";
  EXPECT_THAT(all(), Not(HasSubstr("\"failure\""))) << all();
}

// A payload is /ktstr/bin/NAME in a guest; here there is none.
TEST_F(AgentTest, NamesAPayloadThatIsNotThere) {
  setScenario(R"({"name":"x","durationMs":100,"steps":[
      {"cgroups":[{"name":"a","work":[{"name":"spin","type":{"spinWait":{}}}]}],
       "ops":[{"runPayload":{"name":"p","binary":"no-such-program","cgroup":"a"}}]}]})");
  run();
  EXPECT_THAT(
      all(),
      HasSubstr(R"("name":"payloadFailed","message":"execute /ktstr/bin/no-such-program: No such file)"));
  EXPECT_THAT(kinds(), ElementsAre("ready", "scenarioStarted", "stepStarted", "failure", "worker",
                                   "stepEnded", "scenarioEnded", "done"));
}

// The kernel takes (uid_t)-1 as "leave it", and says nothing.
TEST_F(AgentTest, NamesAWorkerThatCouldNotSetItselfUp) {
  setScenario(R"({"name":"x","durationMs":3600000,"steps":[
      {"cgroups":[{"name":"a","work":[{"name":"good","type":{"spinWait":{}}},
                                      {"name":"bad","uid":4294967295,"type":{"spinWait":{}}}]}]}]})");
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"workerSetupFailed","message":"a/bad[0] (pid )"));
  EXPECT_THAT(all(), HasSubstr("uid 4294967295, gid 0 read back as 0, 0"));
  EXPECT_THAT(all(), HasSubstr(R"("work":"good")"))
      << "the others' reports are collected, and nobody waited an hour";
}

TEST_F(AgentTest, NamesCgroupsThatSomebodyLeft) {
  setScenario(R"({"name":"x","durationMs":100,"steps":[{"cgroups":[{"name":"a","work":[{}]}]}]})");
  std::filesystem::create_directory(environment_.cgroupMount + "/ktstr");
  std::filesystem::create_directory(environment_.cgroupMount + "/ktstr/foreign");
  expectLeft_ = true;
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"teardownIncomplete","message":"cgroups are left: )"));
  EXPECT_THAT(all(), HasSubstr("/ktstr/foreign"));
  rmdir((environment_.cgroupMount + "/ktstr/foreign").c_str());
  rmdir((environment_.cgroupMount + "/ktstr").c_str());
}

// ---- schedulers

const std::string attach = "echo toy > $1/root/ops; echo enabled > $1/state; echo hello from toy; ";
const std::string serve =
    "trap 'echo disabled > $1/state; echo bye; exit 0' INT; while :; do sleep 0.05; done";

TEST_F(AgentTest, RunsUnderAScheduler) {
  setScheduler(attach + serve);
  run();
  EXPECT_THAT(all(), HasSubstr(R"("opsName":"toy")"));
  EXPECT_THAT(all(), HasSubstr("hello from toy"));
  EXPECT_THAT(all(), HasSubstr("bye"));
  EXPECT_THAT(all(), HasSubstr(R"("schedulerExited":{"exitCode":0,"signal":0,"expected":true})"));
  EXPECT_THAT(all(), Not(HasSubstr("\"failure\"")));
}

TEST_F(AgentTest, DetachesAndAttachesSchedulers) {
  setScenario(R"({"name":"x","durationMs":100,"schedulers":[{"name":"other","binary":"other"}],
      "steps":[{"cgroups":[{"name":"a","work":[{"type":{"spinWait":{}}}]}],
                "ops":[{"detachScheduler":null},{"attachScheduler":"other"},{"replaceScheduler":""}]}]})");
  setScheduler("trap 'echo disabled > $1/state; exit 0' INT; " + attach + "while :; do sleep 0.05; done");
  orders().initSchedulers(1).setWithCaveats(0, orders().getScheduler());
  orders().getSchedulers()[0].setName("other");
  run();
  EXPECT_THAT(all(), Not(HasSubstr("\"failure\""))) << all();
  EXPECT_THAT(all(), HasSubstr("detached toy; attached toy"));
  EXPECT_THAT(all(), HasSubstr(R"("name":"other"})"));
  const std::vector<std::string> seen = kinds();
  EXPECT_EQ(std::count(seen.begin(), seen.end(), "schedulerAttached"), 3);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), "schedulerDetached"), 2);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), "schedulerExited"), 3);
}

TEST_F(AgentTest, RunsTheScenarioAgainWithoutItsScheduler) {
  orders().setBaseline(true);
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"ordersInvalid")")) << "nothing to compare";
  events_.clear();
  setScheduler(attach + serve);
  run();
  EXPECT_THAT(all(), Not(HasSubstr("\"failure\""))) << all();
  const std::vector<std::string> seen = kinds();
  const auto second = std::find(seen.begin(), seen.end(), "baselineStarted");
  ASSERT_NE(second, seen.end());
  for (const char* kind : {"stepStarted", "opApplied", "worker", "stepEnded"}) {
    const auto first = std::count(seen.begin(), second, kind);
    EXPECT_GT(first, 0) << kind;
    EXPECT_EQ(std::count(second, seen.end(), kind), first) << kind;
  }
  for (const char* before : {"scenarioEnded", "schedulerExited", "schedulerDetached"})
    EXPECT_EQ(std::count(seen.begin(), second, before), 1) << before;
  for (size_t i = 0; i < seen.size(); i++) {
    const bool again = events_[i].find("\"baseline\":true") != std::string::npos;
    EXPECT_EQ(again, seen[i] == "worker" && seen.begin() + static_cast<long>(i) > second) << events_[i];
  }
}

TEST_F(AgentTest, ScenarioBeginsWhenTheHostHasWrittenIntoTheScheduler) {
  setScheduler(attach + serve);
  orders().setHostWrites(true);
  letGoAfter_ = "schedulerAttached";
  run();
  EXPECT_THAT(all(), Not(HasSubstr("\"failure\""))) << all();
  ASSERT_GT(letGoNs_, 0u);
  EXPECT_GE(startedNs_, letGoNs_);
}

TEST_F(AgentTest, NothingGoesOnWhileASnapshotIsTaken) {
  setScenario(
      R"({"name":"x","durationMs":50,"steps":[{"cgroups":[{"name":"a","work":[{}]}],"ops":[{"snapshot":"s"}]}]})");
  letGoAfter_ = "snapshotRequested";
  run();
  EXPECT_THAT(all(), Not(HasSubstr("\"failure\""))) << all();
  ASSERT_GT(letGoNs_, 0u);
  EXPECT_GE(appliedNs_, letGoNs_);
}

TEST_F(AgentTest, NothingGoesOnWhileTheHostWrites) {
  setScenario(
      R"({"name":"x","durationMs":50,"steps":[{"cgroups":[{"name":"a","work":[{}]}],"ops":[{"sleepMs":1},
                {"writeMap":[".bss:a=1",".bss:b=2"]}]}]})");
  setScheduler(attach + serve);
  letGoAfter_ = "writeRequested";
  run();
  EXPECT_THAT(all(), Not(HasSubstr("\"failure\""))) << all();
  EXPECT_THAT(all(), HasSubstr(R"("writeRequested":{"step":0,"op":1})"));
  EXPECT_THAT(all(), HasSubstr("asked the host to write .bss:a=1 .bss:b=2"));
  ASSERT_GT(letGoNs_, 0u);
  EXPECT_GE(appliedNs_, letGoNs_);
}

TEST_F(AgentTest, ASchedulerThatEndsMeanwhileIsNotWaitedFor) {
  setScheduler(attach + "sleep 0.3; exit 4");
  orders().setHostWrites(true);
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"schedulerExited")"));
  EXPECT_EQ(startedNs_, 0u) << "the scenario did not begin";
}

TEST_F(AgentTest, NamesASchedulerThatDoesNotLeave) {
  setScenario(
      R"({"name":"x","durationMs":100,"steps":[{"cgroups":[{"name":"a","work":[{"type":{"spinWait":{}}}]}],
                "ops":[{"detachScheduler":null}]}]})");
  setScheduler("trap 'exit 0' INT; " + attach + "while :; do sleep 0.05; done");
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"schedulerNotDetached")"));
  EXPECT_THAT(all(), HasSubstr(R"("work":"spinWait")")) << "workers' reports are still collected";
}

TEST_F(AgentTest, KillsASchedulerThatIgnoresSigint) {
  setScheduler(attach + "trap '' INT; while :; do sleep 0.05; done");
  run();
  EXPECT_THAT(all(), HasSubstr(R"("schedulerExited":{"exitCode":-1,"signal":9,"expected":true})"));
}

TEST_F(AgentTest, NamesASchedulerThatDiesAtStart) {
  setScheduler("echo no such option >&2; exit 3");
  run();
  EXPECT_THAT(kinds(),
              ElementsAre("ready", "schedulerStarted", "schedulerLog", "schedulerExited", "failure", "done"));
  EXPECT_THAT(all(), HasSubstr(R"("name":"schedulerDiedAtStart")"));
  EXPECT_THAT(all(), HasSubstr("exit code 3; it printed:\\nno such option"));
}

TEST_F(AgentTest, NamesASchedulerThatNeverAttaches) {
  setScheduler("echo enabling > $1/state; exec sleep 100", 200);
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"schedulerNotAttached")"));
  EXPECT_THAT(all(), HasSubstr("within 200 ms: sched_ext state is \\\"enabling\\\""));
  EXPECT_THAT(all(), HasSubstr(R"("signal":2,"expected":true)"));
}

TEST_F(AgentTest, NamesASchedulerThatExitsLater) {
  setScenario(R"({"name":"x","steps":[{"cgroups":[{"name":"a","work":[{}]}],"hold":{"fixedMs":3600000}}]})");
  setScheduler(attach + "sleep 0.3; echo aborting; kill -ABRT $$");
  run();
  EXPECT_THAT(all(), HasSubstr(R"("schedulerExited":{"exitCode":-1,"signal":6,"expected":false})"));
  EXPECT_THAT(all(), HasSubstr(R"("name":"schedulerExited")"));
  EXPECT_THAT(all(), HasSubstr("killed by SIGABRT; it printed:\\nhello from toy\\naborting"));
  EXPECT_THAT(all(), HasSubstr(R"("work":"spinWait")")) << "workers' reports are still collected";
}

TEST_F(AgentTest, NamesASchedulerThatIsEjected) {
  setScenario(R"({"name":"x","steps":[{"cgroups":[{"name":"a","work":[{}]}],"hold":{"fixedMs":3600000}}]})");
  setScheduler(attach + "sleep 0.3; echo disabled > $1/state; " + serve);
  run();
  EXPECT_THAT(all(), HasSubstr("is no longer attached: sched_ext state is"));
  EXPECT_THAT(all(), HasSubstr(R"("work":"spinWait")"));
}

TEST_F(AgentTest, NamesASchedulerThatIsMissing) {
  setScheduler("");
  orders().getScheduler().setPath("/ktstr/bin/nothing");
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"schedulerMissing")"));
  EXPECT_THAT(all(), HasSubstr("execute /ktstr/bin/nothing: No such file or directory (errno 2)"));
}

TEST_F(AgentTest, NamesASchedulerThatIsNoProgram) {
  setScheduler("");
  write("scheduler", "not a program");
  run();
  EXPECT_THAT(all(), HasSubstr("not a program for this architecture"));
}

TEST_F(AgentTest, NamesAKernelWithoutSchedExt) {
  orders().initScheduler().setPath("/bin/true");
  run();
  EXPECT_THAT(all(), HasSubstr(R"("name":"schedExtUnsupported")"));
}

}  // namespace
}  // namespace ktstr::agent
