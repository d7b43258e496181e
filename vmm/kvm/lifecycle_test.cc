// What is left behind when a party goes away: a real ktstr-vmm with a flat guest on the real /dev/kvm.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <random>
#include <sstream>
#include <thread>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/test_error.h"
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
  rpc::Machine::Client vm;
  pid_t vmm = client.process().pid();

  // `base`: of another machine, in place of its own.
  explicit Running(const Fd* base = nullptr) : vm(boot(base)) {
    client.takeDoorbell(vm);
    client.wait(vm.startRequest().send());
    client.ring("e1");
    EXPECT_EQ(client.hear(), '2');
  }
  bool ended() { return client.process().poll().has_value(); }

 private:
  rpc::Machine::Client boot(const Fd* base) {
    if (base != nullptr) machine.base = base->duplicate();
    return client.boot(machine);
  }
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

// A machine's VMM, who controls it, and who observes it.
struct Parties {
  pid_t vmm, client, monitor;

  bool gone() const { return !exists(vmm) && !exists(client) && !exists(monitor); }
};

// Takes leases on the machine for ever.
void observeForEver(Fd socket) {
  TestClient monitor(Child(), Fd(), std::move(socket), Fd());
  for (;;) {
    auto lease = monitor.wait(monitor.observer().freezeLeaseRequest().send());
    usleep(1000);
  }
}

// Boots a machine and then freezes and thaws it for ever, with an observer beside it; tells who they are.
void controlForEver(const Fd& told) {
  const TestMachine machine;
  unlink(machine.basePath.c_str());  // nobody is left to do so later
  auto control = makeSocketPair(), observe = makeSocketPair();
  SpawnOptions options;
  options.executable = toolPath("ktstr-vmm");
  options.arguments = {"--control-fd", "3", "--observe-fd", "4"};
  options.descriptors = {{control.second.get(), 3}, {observe.second.get(), 4}};
  Parties parties{};
  Child vmm = spawn(options);
  control.second.reset();
  observe.second.reset();
  parties.monitor = fork();
  if (parties.monitor == 0) {
    control.first.reset();
    observeForEver(std::move(observe.first));
  }
  observe.first.reset();
  parties.vmm = vmm.pid();
  parties.client = getpid();
  (void)!write(told.get(), &parties, sizeof parties);
  TestClient client(std::move(vmm), std::move(control.first), Fd(), Fd());
  auto vm = client.boot(machine);
  client.wait(vm.startRequest().send());
  for (;;) {
    client.wait(vm.freezeRequest().send());
    client.wait(vm.thawRequest().send());
  }
}

Parties startParties() {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  if (fork() == 0) {
    try {
      controlForEver(writer);
    } catch (const std::exception&) {
    }
    _exit(0);
  }
  writer.reset();
  Parties parties{};
  EXPECT_EQ(read(reader.get(), &parties, sizeof parties), static_cast<ssize_t>(sizeof parties));
  return parties;
}

size_t entriesOf(const std::string& directory) {
  const std::filesystem::directory_iterator entries(directory);
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

TEST_F(KvmLifecycle, KilledAtRandomMomentsLeavesNothing) {
  char name[] = "/tmp/ktstr-lifecycle-XXXXXX";
  const std::string temporary = mkdtemp(name);
  setenv("TMPDIR", temporary.c_str(), 1);
  const size_t descriptors = entriesOf("/proc/self/fd");
  std::mt19937 random(20260101);  // the same moments each time, as far as the host's scheduling allows
  for (int round = 0; round < 200; ++round) {
    const Parties parties = startParties();
    const pid_t everyone[] = {parties.vmm, parties.client, parties.monitor};
    usleep(static_cast<unsigned>(random() % 40'000));
    const pid_t victim = everyone[random() % 3];
    const bool stopFirst = random() % 2 == 0;
    if (stopFirst) {
      kill(victim, SIGSTOP);
      usleep(static_cast<unsigned>(random() % 5'000));
      if (random() % 2 == 0) {
        kill(victim, SIGCONT);
        usleep(static_cast<unsigned>(random() % 5'000));
        EXPECT_TRUE(std::all_of(std::begin(everyone), std::end(everyone), exists))
            << "round " << round << ": a stop ended it";
      }
    }
    kill(victim, SIGKILL);
    if (victim == parties.monitor) {
      ASSERT_TRUE(eventually(kSoon, [&] { return !exists(victim); }));
      EXPECT_TRUE(exists(parties.vmm) && exists(parties.client))
          << "round " << round << ": nobody needs a monitor";
      kill(parties.client, SIGKILL);
    }
    ASSERT_TRUE(eventually(kSoon, [&] { return parties.gone(); }))
        << "round " << round << ": after the death of the "
        << (victim == parties.vmm      ? "VMM"
            : victim == parties.client ? "client"
                                       : "monitor");
    waitpid(parties.client, nullptr, 0);
  }
  unsetenv("TMPDIR");
  EXPECT_EQ(entriesOf("/proc/self/fd"), descriptors);
  EXPECT_EQ(entriesOf(temporary), 0u);
  std::filesystem::remove_all(temporary);
}

// The thread of the first vCPU: KVM may have one of its own in the process.
pid_t vcpuThreadOf(pid_t vmm) {
  for (const auto& task : std::filesystem::directory_iterator(text("/proc/", vmm, "/task"))) {
    const pid_t thread = atoi(task.path().filename().c_str());
    if (thread != vmm && readFile(task.path() / "comm") == "ktstr-vmm\n") return thread;
  }
  return -1;
}

// The thread is stopped while it is in KVM_RUN, where it holds no lock.
TEST_F(KvmLifecycle, AVcpuThatDoesNotLeaveTheGuestIsNamedAndItGoesOn) {
  Running running;
  running.client.ring("a");  // halts until the doorbell rings
  EXPECT_EQ(running.client.hear(), 'k');
  const auto nanos = [&] {
    return running.client.wait(running.client.observer().vcpuTimesRequest().send()).getNanos()[0];
  };
  ASSERT_TRUE(eventually(kSoon, [&] {
    const uint64_t before = nanos();
    usleep(20'000);
    return nanos() == before;
  }));
  const pid_t thread = vcpuThreadOf(running.vmm);
  if (ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0)
    GTEST_SKIP() << "no ptrace here: " << strerror(errno);
  ASSERT_EQ(ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr), 0);
  ASSERT_EQ(waitpid(thread, nullptr, __WALL), thread);
  EXPECT_EQ(errorOf([&] { running.client.wait(running.vm.freezeRequest().send()); }),
            "freeze-timeout: vCPUs 0 did not leave the guest within 1 s");
  ASSERT_EQ(ptrace(PTRACE_DETACH, thread, nullptr, nullptr), 0);
  running.client.ring("e5");
  EXPECT_EQ(running.client.hear(), '6');
  EXPECT_EQ(errorOf([&] { running.client.wait(running.vm.thawRequest().send()); }).substr(0, 10),
            "not-frozen");
}

// Kilobytes under `key` of the mapping of `path` in smaps.
long smapsOf(pid_t pid, const std::string& path, const std::string& key) {
  std::istringstream lines(readFile(text("/proc/", pid, "/smaps")));
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.find('-') < line.find(' ')) inside = line.ends_with(path);
    if (inside && line.starts_with(key + ":")) return atol(line.c_str() + key.size() + 1);
  }
  return -1;
}

TEST_F(KvmLifecycle, TwoMachinesShareThePagesOfTheirBase) {
  Running first;
  const auto readBase = [](Running& running) {
    running.client.ring("m");
    EXPECT_EQ(running.client.hear(), 'k');
  };
  readBase(first);
  // An event loop belongs to a thread.
  std::thread([&] {
    Running second(&first.machine.base);
    readBase(second);
    const std::string& path = first.machine.basePath;
    for (const pid_t vmm : {first.vmm, second.vmm}) {
      const long resident = smapsOf(vmm, path, "Rss");
      EXPECT_GT(resident, 0);
      EXPECT_LE(2 * smapsOf(vmm, path, "Pss"), resident) << "of " << path;
    }
  }).join();
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
