// What is left behind when a party goes away: a real ktstr-vmm with a flat guest on the real /dev/kvm.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "protocol/error.h"
#include "protocol/text.h"
#include "vmm/test_client.h"

namespace ktstr::vmm {
namespace {

constexpr int kSoon = 5000;  // ms; what should be at once, on a loaded machine

class KvmLifecycle : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
  }
};

struct Running {
  TestMachine machine;
  TestClient client{"ktstr-vmm"};
  rpc::Machine::Client vm = client.boot(machine);
  pid_t vmm = client.process().pid();

  Running() {
    client.takeDoorbell(vm);
    client.wait(vm.startRequest().send());
    client.ring("e1");
    EXPECT_EQ(client.hear(), '2');
  }
  bool ended() { return client.process().poll().has_value(); }
};

TEST_F(KvmLifecycle, DisconnectEndsEverything) {
  Running running;
  running.client.disconnect();
  EXPECT_TRUE(eventually(kSoon, [&] { return running.ended(); }));
  EXPECT_EQ(running.client.process().poll().value_or(-1), 0);
}

// More threads than glibc makes memory arenas for without asking how many CPUs there are.
TEST_F(KvmLifecycle, ManyVcpusAreReadyAndEndTogether) {
  for (const uint32_t vcpus : {16u, 80u}) {
    TestMachine machine(uint64_t{4} << 20, vcpus);
    TestClient client("ktstr-vmm");
    auto vm = client.boot(machine);
    client.takeDoorbell(vm);
    client.wait(vm.startRequest().send());
    client.ring("e1");
    EXPECT_EQ(client.hear(), '2');
    client.wait(vm.stopRequest().send());
  }
}

TEST_F(KvmLifecycle, ARunawayGuestIsStoppedInBoundedTime) {
  Running running;  // it spins all the time
  const uint64_t begin = monotonicNs();
  running.client.wait(running.vm.stopRequest().send());
  EXPECT_LT(monotonicNs() - begin, 2'000'000'000u);
  auto answer = running.client.wait(running.vm.waitRequest().send());
  EXPECT_EQ(answer.getExit().getKind(), rpc::ExitKind::STOPPED);
}

TEST_F(KvmLifecycle, DroppedMachineEndsTheMachineNotTheVmm) {
  Running running;
  running.vm = rpc::Machine::Client(nullptr);
  const auto gone = [&] {
    try {
      running.client.wait(running.client.observer().memoryRequest().send());
      return false;
    } catch (const Error& e) {
      return e.name() == "no-machine";
    }
  };
  EXPECT_TRUE(eventually(kSoon, gone));
  EXPECT_FALSE(running.ended());
}

// A client in a process of its own: boots a machine and then freezes and thaws it for ever.
pid_t clientProcess(pid_t& vmm) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t pid = fork();
  if (pid == 0) {
    try {
      TestMachine machine;
      unlink(machine.basePath.c_str());  // nobody is left to do so later
      TestClient client("ktstr-vmm");
      vmm = client.process().pid();
      (void)!write(writer.get(), &vmm, sizeof vmm);
      auto vm = client.boot(machine);
      client.wait(vm.startRequest().send());
      for (;;) {
        client.wait(vm.freezeRequest().send());
        client.wait(vm.thawRequest().send());
      }
    } catch (const std::exception&) {
    }
    _exit(0);
  }
  writer.reset();
  EXPECT_EQ(read(reader.get(), &vmm, sizeof vmm), static_cast<ssize_t>(sizeof vmm));
  return pid;
}

TEST_F(KvmLifecycle, KilledAtRandomMomentsLeavesNothing) {
  std::mt19937 random(20260101);  // the same moments each time, as far as the host's scheduling allows
  for (int round = 0; round < 200; ++round) {
    pid_t vmm = 0;
    const pid_t client = clientProcess(vmm);
    usleep(static_cast<unsigned>(random() % 40'000));
    const pid_t victim = random() % 2 == 0 ? vmm : client;
    const bool stopFirst = random() % 2 == 0;
    if (stopFirst) {
      kill(victim, SIGSTOP);
      usleep(static_cast<unsigned>(random() % 5'000));
      if (random() % 2 == 0) {
        kill(victim, SIGCONT);
        usleep(static_cast<unsigned>(random() % 5'000));
        EXPECT_TRUE(exists(vmm) && exists(client)) << "round " << round << ": a stop ended it";
      }
    }
    kill(victim, SIGKILL);
    ASSERT_TRUE(eventually(kSoon, [&] { return !exists(vmm) && !exists(client); }))
        << "round " << round << ": after the " << (victim == vmm ? "VMM" : "client") << "'s death";
    waitpid(client, nullptr, 0);
  }
}

TEST_F(KvmLifecycle, AStoppedVmmGoesOnWhereItWas) {
  Running running;
  kill(running.vmm, SIGSTOP);
  usleep(50'000);
  kill(running.vmm, SIGCONT);
  running.client.ring("e1");
  EXPECT_EQ(running.client.hear(), '2');
}

}  // namespace
}  // namespace ktstr::vmm
