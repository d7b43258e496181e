// Where vCPU threads run: asked for in the machine, read back from /proc by the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "protocol/error.h"
#include "protocol/text.h"
#include "vmm/test_client.h"

namespace ktstr::vmm {
namespace {

using testing::HasSubstr;

// The calling thread under SCHED_FIFO, which children inherit; as before at the end.
class RealTime {
 public:
  explicit RealTime(int priority) {
    const sched_param fifo{priority};
    if (sched_setscheduler(0, SCHED_FIFO, &fifo) != 0) refusal_ = errno;
  }
  ~RealTime() {
    const sched_param other{};
    sched_setscheduler(0, SCHED_OTHER, &other);
  }
  RealTime(const RealTime&) = delete;
  RealTime& operator=(const RealTime&) = delete;
  int refusal() const { return refusal_; }

 private:
  int refusal_ = 0;
};

class KvmPlacement : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
  }

  using Request = capnp::Request<rpc::Vmm::BootParams, rpc::Vmm::BootResults>;

  // Boots and starts a machine of two vCPUs that `place` has placed.
  rpc::Machine::Client start(TestClient& client, const std::function<void(rpc::Placement::Builder)>& place) {
    Request request = client.bootRequest(machine_);
    place(request.getMachine().initPlacement());
    auto machine = client.wait(request.send()).getMachine();
    client.takeDoorbell(machine);
    client.wait(machine.startRequest().send());
    client.ring("e1");
    EXPECT_EQ(client.hear(), '2');
    return machine;
  }
  std::string refusal(const std::function<void(rpc::Placement::Builder)>& place,
                      const char* program = "ktstr-vmm") {
    const TestMachine machine(uint64_t{4} << 20, 2);
    TestClient client(program);
    try {
      Request request = client.bootRequest(machine);
      place(request.getMachine().initPlacement());
      client.wait(request.send());
      return "it boots";
    } catch (const Error& e) {
      return e.what();
    }
  }

  const TestMachine machine_{uint64_t{4} << 20, 2};
};

std::vector<pid_t> otherThreadsOf(pid_t process) {
  std::vector<pid_t> threads;
  for (const auto& task : std::filesystem::directory_iterator(text("/proc/", process, "/task"))) {
    const pid_t thread = atoi(task.path().filename().c_str());
    if (thread != process) threads.push_back(thread);
  }
  return threads;
}

std::vector<unsigned> cpusOf(pid_t thread) {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(thread, sizeof set, &set), 0);
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

TEST_F(KvmPlacement, ThreadsArePinnedOneByOne) {
  const auto allowed = cpusOf(0);
  if (allowed.size() < 2) GTEST_SKIP() << "this process may use one CPU alone";
  TestClient client("ktstr-vmm");
  auto machine = start(client, [&](rpc::Placement::Builder placement) {
    auto cpus = placement.initCpus(2);
    for (unsigned i = 0; i < 2; ++i) cpus.set(i, static_cast<uint16_t>(allowed[i]));
  });
  std::set<std::vector<unsigned>> seen;
  for (const pid_t thread : otherThreadsOf(client.process().pid())) seen.insert(cpusOf(thread));
  EXPECT_EQ(seen, (std::set<std::vector<unsigned>>{{allowed[0]}, {allowed[1]}}));
  EXPECT_EQ(cpusOf(client.process().pid()), allowed) << "the serving thread stays where it was";
}

TEST_F(KvmPlacement, CpusThatAreNotThereAreRefusedByName) {
  EXPECT_THAT(refusal([](rpc::Placement::Builder placement) {
                auto cpus = placement.initCpus(2);
                cpus.set(0, 0);
                cpus.set(1, 1023);
              }),
              HasSubstr("pinning-refused: pin vCPU 1 to CPU 1023: Invalid argument"));
}

TEST_F(KvmPlacement, ThreadsRunBelowARealTimeVmmWithoutAnyPrivilege) {
  const RealTime harness(2);
  if (harness.refusal() != 0) GTEST_SKIP() << "no SCHED_FIFO here: " << strerror(harness.refusal());
  TestClient client("ktstr-vmm");
  auto machine = start(client, [](rpc::Placement::Builder placement) { placement.setPriority(1); });
  const pid_t vmm = client.process().pid();
  const auto threads = otherThreadsOf(vmm);
  EXPECT_GE(threads.size(), 2u);  // KVM may have made one of its own from one of them
  for (const pid_t thread : threads) {
    sched_param parameters{};
    EXPECT_EQ(sched_getscheduler(thread), SCHED_FIFO);
    EXPECT_EQ(sched_getparam(thread, &parameters), 0);
    EXPECT_EQ(parameters.sched_priority, 1);
  }
  sched_param serving{};
  EXPECT_EQ(sched_getparam(vmm, &serving), 0);
  EXPECT_EQ(serving.sched_priority, 2);
}

TEST_F(KvmPlacement, RealTimeBeyondTheVmmsOwnIsRefusedByName) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_RTPRIO, &limit), 0);
  if (limit.rlim_cur > 0) GTEST_SKIP() << "RLIMIT_RTPRIO is " << limit.rlim_cur << ": anybody may here";
  EXPECT_THAT(refusal([](rpc::Placement::Builder placement) { placement.setPriority(1); }),
              HasSubstr("realtime-refused: make vCPU "));
}

TEST_F(KvmPlacement, PollingIsSetAndIdleKeptWhereKvmCan) {
  const auto poll = [](rpc::Placement::Builder placement) { placement.getHaltPoll().setNanos(200'000); };
  EXPECT_EQ(refusal(poll), "it boots");
  const std::string kept = refusal([](rpc::Placement::Builder placement) { placement.setKeepIdle(true); });
  EXPECT_THAT(kept,
              testing::AnyOf(HasSubstr("it boots"), HasSubstr("exits-not-suppressible: this KVM cannot")));
}

TEST_F(KvmPlacement, NumbersAreChecked) {
  EXPECT_THAT(refusal([](rpc::Placement::Builder placement) { placement.initCpus(1); }),
              HasSubstr("machine-invalid: placement.cpus' number is 1"));
  EXPECT_THAT(refusal([](rpc::Placement::Builder placement) { placement.initCpus(2).set(1, 1024); }),
              HasSubstr("machine-invalid: placement.cpus is 1024"));
  EXPECT_THAT(refusal([](rpc::Placement::Builder placement) { placement.setPriority(99); }),
              HasSubstr("machine-invalid: placement.priority is 99"));
  EXPECT_THAT(
      refusal([](rpc::Placement::Builder placement) { placement.getHaltPoll().setNanos(1'000'000'001); }),
      HasSubstr("machine-invalid: placement.haltPoll is 1000000001"));
}

TEST(TcgPlacement, IsRefusedByName) {
  const TestMachine machine;
  for (const auto& place : std::vector<std::function<void(rpc::Placement::Builder)>>{
           [](rpc::Placement::Builder placement) { placement.initCpus(1); },
           [](rpc::Placement::Builder placement) { placement.setPriority(1); },
           [](rpc::Placement::Builder placement) { placement.setKeepIdle(true); }}) {
    TestClient client("ktstr-vmm-tcg");
    auto request = client.bootRequest(machine);
    place(request.getMachine().initPlacement());
    try {
      client.wait(request.send());
      FAIL() << "it boots";
    } catch (const Error& e) {
      EXPECT_EQ(e.name(), "not-supported-by-tcg");
    }
  }
}

}  // namespace
}  // namespace ktstr::vmm
