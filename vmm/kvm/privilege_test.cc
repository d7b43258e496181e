// Three users: one holds /dev/kvm and runs the VMM, one orchestrates, one monitors. What the latter two must
// not be able to do is tried and denied, on a VMM started as README.md says (by hand) and as the units say.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/socket.h"
#include "protocol/test_readme.h"
#include "protocol/text.h"
#include "vmm/test_client.h"
#include "vmm/test_users.h"

namespace ktstr::vmm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;

const std::string kDirectory = "/run/ktstr-vmm/ci/";
const std::string kControl = kDirectory + "control.sock", kObserve = kDirectory + "observe.sock",
                  kGate = kDirectory + "gate.sock";

enum class Way { byHand, activated };

// A setting of a unit of vmm/systemd, of the instance "ci", with numbers for our users.
std::string setting(const std::string& unit, const std::string& key) {
  std::string text = "\n" + readFile("vmm/systemd/" + unit);
  const auto replace = [&text](std::string_view from, std::string_view to) {
    for (size_t at; (at = text.find(from)) != std::string::npos;) text.replace(at, from.size(), to);
  };
  replace("\\\n", "");
  replace("%i", "ci");
  replace("ktstr-orchestrator", std::to_string(kOrchestrator));
  replace("ktstr-monitor", std::to_string(kMonitor));
  const size_t begin = text.find("\n" + key + "=") + key.size() + 2;
  return text.substr(begin, text.find('\n', begin) - begin);
}

// A listening socket as the service manager makes it for a socket unit.
Fd socketOf(const std::string& unit) {
  const std::filesystem::path path = setting(unit, "ListenStream");
  std::filesystem::create_directories(path.parent_path());
  Fd socket = listenUnix(path, static_cast<unsigned>(std::stoul(setting(unit, "SocketMode"), nullptr, 8)));
  const auto number = [&](const char* key) { return static_cast<uid_t>(std::stoul(setting(unit, key))); };
  EXPECT_EQ(chown(path.c_str(), number("SocketUser"), number("SocketGroup")), 0);
  return socket;
}

class Privilege : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
    if (const std::string why = enterStage(); !why.empty()) GTEST_SKIP() << why;
    std::filesystem::remove_all("/run/ktstr-vmm");
    GetParam() == Way::byHand ? startByHand() : startActivated();
  }
  ~Privilege() noexcept override {
    if (vmm_ > 0 && client_ == nullptr) kill(vmm_, SIGKILL);
  }

  SpawnOptions shell(const std::string& script) const {
    SpawnOptions options;
    options.executable = "/bin/sh";
    options.arguments = {"-c", script};
    options.environment = {"PATH=/run/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
    options.standardError = log_.get();
    return options;
  }

  void startByHand() {
    shell_ = spawn(shell(commandsOfReadme("By hand, as root") + "echo VMM $! >&2\nwait $!"));
    ASSERT_TRUE(logs("VMM ")) << log();
    vmm_ = std::stoi(log().substr(log().find("VMM ") + 4));
  }

  // As the service manager: setpriv for User=, SupplementaryGroups=, CapabilityBoundingSet=,
  // NoNewPrivileges=.
  void startActivated() {
    const std::string service = "ktstr-vmm@.service";
    const std::string command = setting(service, "ExecStart");
    ASSERT_THAT(command, testing::StartsWith("/usr/local/bin/ktstr serve --activated "));
    auto options = shell(text("LISTEN_PID=$$ exec setpriv --reuid ", kVmm, " --regid ", kVmm, " --groups ",
                              kKvmGroup, " --bounding-set=-all --inh-caps=-all --no-new-privs ",
                              command.substr(strlen("/usr/local/bin/"))));
    const Fd gate = socketOf("ktstr-vmm-gate@.socket"), control = socketOf("ktstr-vmm-control@.socket"),
             observe = socketOf("ktstr-vmm-observe@.socket");
    options.descriptors = {{gate.get(), 3}, {control.get(), 4}, {observe.get(), 5}};
    options.environment.push_back("LISTEN_FDS=3");
    options.environment.push_back("LISTEN_FDNAMES=gate:control:observe");
    shell_ = spawn(options);
    vmm_ = shell_.pid();
  }

  std::string log() const { return readAll(log_.get()); }
  bool logs(const std::string& what) const {
    return eventually(5000, [&] { return log().find(what) != std::string::npos; });
  }

  // The orchestrator takes control and starts a machine; the observer is the monitor's connection.
  void boot() {
    client_ = std::make_unique<TestClient>(std::move(shell_), connectAs(kOrchestrator, kControl),
                                           connectAs(kMonitor, kObserve), connectAs(kOrchestrator, kGate));
    machineClient_.emplace(client_->boot(machine_));
    client_->wait(machineClient_->startRequest().send());
  }

  rpc::WriteGate::Client grant(uint64_t gpa, uint64_t size, bool publish) {
    auto request = machineClient_->writeGateRequest();
    auto range = request.initRanges(1)[0];
    range.setGpa(gpa);
    range.setSize(size);
    request.setPublish(publish);
    return client_->wait(request.send()).getGate();
  }
  std::string write(rpc::WriteGate::Client gate, uint64_t gpa, size_t size) {
    auto request = gate.writeRequest();
    request.setGpa(gpa);
    memset(request.initBytes(static_cast<unsigned>(size)).begin(), 'G', size);
    try {
      client_->wait(request.send());
    } catch (const Error& e) {
      return e.name();
    }
    return "done";
  }

  const Fd log_ = makeMemfd("log", 0);
  Child shell_;
  pid_t vmm_ = -1;
  TestMachine machine_;
  std::unique_ptr<TestClient> client_;
  std::optional<rpc::Machine::Client> machineClient_;
};

std::string openKvm() {
  const Fd fd(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  return outcome(fd.get());
}

TEST_P(Privilege, OnlyTheUserOfTheVmmOpensKvm) {
  EXPECT_EQ(as(kVmm, openKvm, {kKvmGroup}), "done");
  EXPECT_EQ(as(kOrchestrator, openKvm), "EACCES");
  EXPECT_EQ(as(kMonitor, openKvm), "EACCES");
}

// Connects and makes a call; what it is answered does not matter.
std::string knock(const std::string& path) {
  TestClient visitor(Child(), Fd(), connectUnix(path), Fd());
  try {
    visitor.wait(visitor.observer().registersRequest().send());
  } catch (const Error& e) {
    if (e.name() == "peer-disconnected") return "refused";
  }
  return "accepted";
}
std::string knockAs(uid_t user, const std::string& path) {
  return as(user, [&] { return knock(path); });
}

TEST_P(Privilege, MonitorConnectsToObserveAlone) {
  EXPECT_THAT(knockAs(kMonitor, kControl),
              AllOf(HasSubstr("connect-failed"), HasSubstr("Permission denied")));
  EXPECT_THAT(knockAs(kMonitor, kGate), AllOf(HasSubstr("connect-failed"), HasSubstr("Permission denied")));
  EXPECT_THAT(knockAs(kStranger, kObserve), HasSubstr("Permission denied"));
  EXPECT_EQ(knockAs(kMonitor, kObserve), "accepted");
  EXPECT_EQ(knockAs(kOrchestrator, kGate), "accepted");
}

TEST_P(Privilege, PeersAreCheckedWhereTheModeLetsThemIn) {
  for (const std::string& path : {kControl, kObserve, kGate}) ASSERT_EQ(chmod(path.c_str(), 0666), 0);
  EXPECT_EQ(knockAs(kMonitor, kControl), "refused");
  EXPECT_TRUE(logs(text("control", ": refused a connection from uid ", kMonitor)));
  EXPECT_EQ(knockAs(kMonitor, kGate), "refused");
  EXPECT_TRUE(logs(text("gate", ": refused a connection from uid ", kMonitor)));
  EXPECT_EQ(knockAs(kStranger, kObserve), "refused");
  EXPECT_EQ(knockAs(kMonitor, kObserve), "accepted");
  boot();  // control is still there for who may have it
}

// What the monitor can make of the RAM that it is given: a line for each attempt.
std::string attemptsOnRam(pid_t vmm, size_t size) {
  TestClient monitor(Child(), Fd(), connectUnix(kObserve), Fd());
  auto answer = monitor.wait(monitor.observer().memoryRequest().send());
  const Fd ram = descriptorOf(monitor, answer.getFd());
  const auto map = [&](int fd, int protection, int flags) {
    void* at = mmap(nullptr, 4096, protection, flags, fd, 0);
    return at == MAP_FAILED ? -1L : 0L;
  };
  const auto path = [](auto pid, int fd) { return text("/proc/", pid, "/fd/", fd); };
  void* readable = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, ram.get(), 0);
  std::string said = text("read ", outcome(readable == MAP_FAILED ? -1 : 0));
  said += text("\nmap ", outcome(map(ram.get(), PROT_READ | PROT_WRITE, MAP_SHARED)));
  said += text("\nmprotect ", outcome(mprotect(readable, 4096, PROT_READ | PROT_WRITE)));
  said += text("\nwrite ", outcome(pwrite(ram.get(), "x", 1, 0)));
  said += text("\ntruncate ", outcome(ftruncate(ram.get(), static_cast<off_t>(size) * 2)));
  said += text("\nunseal ", outcome(fcntl(ram.get(), F_ADD_SEALS, 0)));
  const Fd reopened = openFile(path("self", ram.get()), O_RDWR);
  said += text("\nmap reopened ", outcome(map(reopened.get(), PROT_READ | PROT_WRITE, MAP_SHARED)));
  said += text("\nwrite reopened ", outcome(pwrite(reopened.get(), "x", 1, 0)));
  said += text("\nmemory of the VMM ", outcome(open(text("/proc/", vmm, "/mem").c_str(), O_RDWR)));
  said += text("\ndescriptors of the VMM ", outcome(open(path(vmm, 0).c_str(), O_RDWR)));
  return said;
}

TEST_P(Privilege, MonitorReadsRamAndCannotWriteIt) {
  boot();
  EXPECT_EQ(as(kMonitor, [&] { return attemptsOnRam(vmm_, machine_.ramBytes); }),
            "read done\nmap EPERM\nmprotect EACCES\nwrite EPERM\ntruncate EPERM\nunseal EPERM\n"
            "map reopened EPERM\nwrite reopened EPERM\n"
            "memory of the VMM EACCES\ndescriptors of the VMM EACCES");
}

TEST_P(Privilege, GateWritesInsideItsRangesAlone) {
  boot();
  EXPECT_EQ(write(client_->gate(), 0x200000, 8), "gate-refused") << "nothing is published";
  auto own = grant(0x300000, 4096, false);
  grant(0x200000, 4096, true);
  EXPECT_EQ(write(client_->gate(), 0x200ff8, 8), "done");
  EXPECT_EQ(write(client_->gate(), 0x200ff8, 9), "gate-refused");
  EXPECT_EQ(write(client_->gate(), 0x1fffff, 2), "gate-refused");
  EXPECT_EQ(write(client_->gate(), 0x300000, 8), "gate-refused") << "another gate's range";
  EXPECT_EQ(write(own, 0x300000, 8), "done");
  EXPECT_EQ(write(own, 0x200000, 8), "gate-refused") << "another gate's range";
  const Mapping ram(machine_.ram.get(), 0, machine_.ramBytes, PROT_READ);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(ram.data() + 0x200ff0), 24),
            std::string(8, '\0') + "GGGGGGGG" + std::string(8, '\0'));
}

TEST_P(Privilege, EveryGateWriteIsLoggedWithItsGate) {
  boot();
  auto own = grant(0x300000, 4096, false);
  grant(0x200000, 8192, true);
  write(own, 0x300010, 3);
  write(client_->gate(), 0x200020, 5);
  write(client_->gate(), 0x300000, 5);
  EXPECT_TRUE(logs("gate 2 of control (4096 bytes at 0x300000): wrote 3 bytes at 0x300010")) << log();
  const std::string published =
      text("gate 1 of uid ", kOrchestrator, " (published, 8192 bytes at 0x200000): ");
  EXPECT_TRUE(logs(published + "wrote 5 bytes at 0x200020")) << log();
  EXPECT_TRUE(logs(published + "refused: gate-refused: 5 bytes at 0x300000")) << log();
}

TEST_P(Privilege, MachineDiesWithItsControlConnection) {
  boot();
  EXPECT_TRUE(exists(vmm_));
  auto lease = client_->wait(client_->observer().freezeLeaseRequest().send());  // the monitor holds on
  machineClient_.reset();
  client_->disconnect();
  EXPECT_TRUE(eventually(2000, [&] { return !exists(vmm_); }));
  EXPECT_EQ(describeWaitStatus(client_->process().wait()), "exit code 0") << log();
}

// What is in /proc/PID/status under `key`.
std::string statusOf(pid_t pid, const std::string& key) {
  std::istringstream status(readFile(text("/proc/", pid, "/status")));
  std::string word;
  while (status >> word && word != key + ":") {
  }
  std::getline(status >> std::ws, word);
  return word;
}

void expectNoPrivilege(pid_t pid) {
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(statusOf(pid, set), "0000000000000000") << set;
  }
  EXPECT_EQ(statusOf(pid, "NoNewPrivs"), "1");
  EXPECT_EQ(statusOf(pid, "Seccomp"), "2");
}

TEST_P(Privilege, VmmIsItsUserAndHoldsNoCapability) {
  boot();
  EXPECT_EQ(statusOf(vmm_, "Uid"), text(kVmm, '\t', kVmm, '\t', kVmm, '\t', kVmm));
  EXPECT_THAT(statusOf(vmm_, "Groups"), MatchesRegex(text(kKvmGroup, " *")));
  expectNoPrivilege(vmm_);
}

INSTANTIATE_TEST_SUITE_P(Started, Privilege, testing::Values(Way::byHand, Way::activated),
                         [](const auto& way) { return way.param == Way::byHand ? "ByHand" : "Activated"; });

TEST(PrivilegeOfRoot, IsDroppedByTheVmmItself) {
  if (geteuid() != 0) GTEST_SKIP() << "has no capabilities to drop: not root";
  if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
  TestClient client("ktstr-vmm");
  TestMachine machine;
  auto vm = client.boot(machine);
  expectNoPrivilege(client.process().pid());
  // The filter of the set-up, and on top of it each thread's own.
  size_t threads = 0;
  for (const auto& task :
       std::filesystem::directory_iterator(text("/proc/", client.process().pid(), "/task"))) {
    const pid_t tid = atoi(task.path().filename().c_str());
    EXPECT_EQ(statusOf(tid, "Seccomp_filters"), "2") << statusOf(tid, "Name");
    expectNoPrivilege(tid);
    threads++;
  }
  EXPECT_GE(threads, 1 + machine.vcpus);
  const std::string limits = readFile(text("/proc/", client.process().pid(), "/limits"));
  EXPECT_THAT(limits, testing::ContainsRegex("Max core file size +0 +0 "));
  EXPECT_THAT(limits, testing::ContainsRegex("Max open files +([1-9][0-9]{0,2}|[123][0-9]{3}|40[0-9]{2}) +"));
}

}  // namespace
}  // namespace ktstr::vmm
