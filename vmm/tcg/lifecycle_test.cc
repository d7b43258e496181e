// What is left behind when a party goes away, and what happens without a usable QEMU: real processes
// throughout.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <cstdlib>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/socket.h"
#include "protocol/text.h"
#include "vmm/test_client.h"

namespace ktstr::vmm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int kSoon = 5000;  // ms; what should be 2 s, on a loaded machine

struct Directory {
  Directory() { mkdtemp(path.data()); }
  ~Directory() {
    for (const char* name : {"qemu", "control.sock", "observe.sock", "gate.sock"}) {
      unlink((path + "/" + name).c_str());
    }
    rmdir(path.c_str());
  }
  std::string path = "/tmp/ktstr-vmm-test-XXXXXX";
};

// A client with a machine whose guest runs.
struct Running {
  TestMachine machine;
  TestClient client;
  rpc::Machine::Client vm = client.boot(machine);
  std::vector<pid_t> family;  // warden, QEMU
  pid_t vmm = client.process().pid();
  pid_t qemu = -1;

  Running() {
    client.takeDoorbell(vm);
    client.wait(vm.startRequest().send());
    client.ring("e1");
    EXPECT_EQ(client.hear(), '2');
    family = descendants(vmm);
    EXPECT_EQ(family.size(), 2u);
    qemu = family.back();
  }
  bool allGone() const { return std::none_of(family.begin(), family.end(), exists); }
};

TEST(Lifecycle, DisconnectEndsEverything) {
  Running running;
  running.client.disconnect();
  EXPECT_TRUE(eventually(kSoon, [&] { return running.client.process().poll().has_value(); }));
  EXPECT_EQ(running.client.process().poll().value_or(-1), 0);
  EXPECT_TRUE(eventually(kSoon, [&] { return running.allGone(); }));
}

TEST(Lifecycle, DroppedMachineEndsTheEngineNotTheVmm) {
  Running running;
  running.vm = rpc::Machine::Client(nullptr);
  EXPECT_TRUE(eventually(kSoon, [&] {
    running.client.io()
        .provider->getTimer()
        .afterDelay(1 * kj::MILLISECONDS)
        .wait(running.client.io().waitScope);
    return running.allGone();
  }));
  EXPECT_FALSE(running.client.process().poll().has_value());
}

TEST(Lifecycle, KilledQemuIsNamed) {
  Running running;
  kill(running.qemu, SIGKILL);
  auto answer = running.client.wait(running.vm.waitRequest().send());
  EXPECT_EQ(answer.getExit().getKind(), rpc::ExitKind::ENGINE_KILLED);
  EXPECT_THAT(answer.getExit().getDetail().cStr(), HasSubstr("SIGKILL"));
  EXPECT_TRUE(eventually(kSoon, [&] { return running.allGone(); }));
}

TEST(Lifecycle, TerminatedQemuIsNamed) {
  Running running;
  kill(running.qemu, SIGTERM);
  auto answer = running.client.wait(running.vm.waitRequest().send());
  EXPECT_EQ(answer.getExit().getKind(), rpc::ExitKind::ENGINE_KILLED);
  EXPECT_THAT(answer.getExit().getDetail().cStr(), HasSubstr("host-signal"));
}

TEST(Lifecycle, KilledVmmLeavesNothing) {
  Running running;
  kill(running.vmm, SIGKILL);
  EXPECT_TRUE(eventually(kSoon, [&] { return running.allGone(); }));
}

TEST(Lifecycle, StoppedVmmThatIsKilledLeavesNothing) {
  Running running;
  kill(running.vmm, SIGSTOP);
  kill(running.vmm, SIGKILL);
  EXPECT_TRUE(eventually(kSoon, [&] { return running.allGone(); }));
}

TEST(Lifecycle, KilledWardenTakesQemuAlongAndIsNamed) {
  Running running;
  kill(running.family.front(), SIGKILL);
  auto answer = running.client.wait(running.vm.waitRequest().send());
  EXPECT_EQ(answer.getExit().getKind(), rpc::ExitKind::ENGINE_KILLED);
  EXPECT_THAT(answer.getExit().getDetail().cStr(), HasSubstr("warden"));
  EXPECT_TRUE(eventually(kSoon, [&] { return running.allGone(); }));
}

TEST(Lifecycle, KilledAtAnyMomentLeavesNothing) {
  for (int delay = 0; delay < 12; ++delay) {
    TestMachine machine;
    TestClient client;
    auto request = client.vmm().bootRequest();
    auto prepared = request.initMachine();
    machine.describe(prepared);
    client.giveMemory(machine);
    auto booting = request.send();
    client.io().provider->getTimer().afterDelay(delay * 12 * kj::MILLISECONDS).wait(client.io().waitScope);
    const auto family = descendants(client.process().pid());
    kill(client.process().pid(), SIGKILL);
    EXPECT_TRUE(eventually(kSoon, [&] { return std::none_of(family.begin(), family.end(), exists); }))
        << delay;
  }
}

unsigned modeOf(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? status.st_mode & 0777 : 0;
}

TEST(Lifecycle, ServesInADirectoryOfItsOwn) {
  const Directory directory;
  Child first = spawn(serving("ktstr-vmm-tcg", directory.path));
  ASSERT_TRUE(eventually(kSoon, [&] { return modeOf(directory.path + "/gate.sock") == 0600; }));
  EXPECT_EQ(modeOf(directory.path + "/control.sock"), 0600u);
  EXPECT_EQ(modeOf(directory.path + "/observe.sock"), 0660u);
  const Fd log = makeMemfd("log", 0);
  SpawnOptions second = serving("ktstr-vmm-tcg", directory.path);
  second.standardError = log.get();
  EXPECT_EQ(describeWaitStatus(spawn(second).wait()), "exit code 4");
  EXPECT_THAT(readAll(log.get()), HasSubstr("address-in-use: another VMM serves in " + directory.path));
  kill(first.pid(), SIGKILL);
  first.wait();
  Child third = spawn(serving("ktstr-vmm-tcg", directory.path));  // what the first has left is replaced
  ASSERT_TRUE(eventually(kSoon, [&] {
    try {
      connectUnix(directory.path + "/control.sock");
      return true;
    } catch (const Error&) {
      return false;
    }
  }));
}

TEST(Lifecycle, EndsWithItsControlConnection) {
  const Directory directory;
  Child child = spawn(serving("ktstr-vmm-tcg", directory.path));
  ASSERT_TRUE(eventually(kSoon, [&] { return modeOf(directory.path + "/gate.sock") == 0600; }));
  auto io = kj::setupAsyncIo();
  {
    Connection control(*io.lowLevelProvider, connectUnix(directory.path + "/control.sock"), nullptr);
    auto info = control.bootstrap().castAs<rpc::Vmm>().infoRequest().send().wait(io.waitScope);
    EXPECT_EQ(info.getInfo().getAccelerator(), "tcg");
    EXPECT_THAT(info.getInfo().getEngine().cStr(), StartsWith("QEMU 1"));
    EXPECT_FALSE(child.poll().has_value());
  }
  EXPECT_TRUE(eventually(kSoon, [&] { return child.poll().has_value(); }));
  EXPECT_EQ(child.poll().value_or(-1), 0);
}

std::string infoError(const std::string& qemu) {
  TestClient client("ktstr-vmm-tcg", {"KTSTR_QEMU=" + qemu, "KTSTR_LOG=error"});
  try {
    client.wait(client.vmm().infoRequest().send());
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Lifecycle, UnusableQemuIsNamedWithTheRemedy) {
  const Directory directory;
  const std::string path = directory.path + "/qemu";
  const auto fake = [&](const std::string& script) {
    unlink(path.c_str());
    writeAll(openFile(path, O_WRONLY | O_CREAT, 0755).get(), "#!/bin/sh\n" + script + "\n");
    return infoError(path);
  };
  EXPECT_THAT(fake("echo 'QEMU emulator version 7.2.19 (Debian 1:7.2)'"),
              AllOf(StartsWith("qemu-too-old: "), HasSubstr("version 7.2.19"), HasSubstr("make deps")));
  EXPECT_THAT(fake("echo nonsense; exit 3"), AllOf(StartsWith("qemu-failed: "), HasSubstr("nonsense")));
  EXPECT_THAT(infoError("/nonexistent/qemu"),
              AllOf(StartsWith("qemu-missing: "), HasSubstr("qemu-system-x86")));
}

TEST(Lifecycle, EngineThatFailsToStartShowsItsLastWords) {
  const Directory directory;
  const std::string path = directory.path + "/qemu";
  writeAll(openFile(path, O_WRONLY | O_CREAT, 0755).get(),
           "#!/bin/sh\ncase $1 in --version) echo 'QEMU emulator version 10.9.9';; *) echo 'no can do' >&2; "
           "exit 7;; esac\n");
  TestMachine machine;
  TestClient client("ktstr-vmm-tcg", {"KTSTR_QEMU=" + path});
  try {
    client.boot(machine);
    ADD_FAILURE() << "booted";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(),
                AllOf(StartsWith("engine-failed: "), HasSubstr("exit code 7"), HasSubstr("no can do")));
  }
  EXPECT_TRUE(descendants(client.process().pid()).empty() || eventually(kSoon, [&] {
                const auto left = descendants(client.process().pid());
                return std::none_of(left.begin(), left.end(), exists);
              }));
}

}  // namespace
}  // namespace ktstr::vmm
