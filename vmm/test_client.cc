#include "vmm/test_client.h"

#include <dirent.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

extern char** environ;

namespace ktstr::vmm {
namespace {

// Leaf 1 tells each vCPU its APIC id; all others are the same for all.
void setCpuid(rpc::PreparedMachine::Builder machine, capnp::List<rpc::CpuidEntry>::Reader offered) {
  if (offered.size() == 0) return;
  auto common = machine.initCpuid(offered.size() - 1);
  unsigned next = 0;
  for (const auto leaf : offered) {
    if (leaf.getFunction() != 1) {
      common.setWithCaveats(next++, leaf);
      continue;
    }
    for (auto vcpu : machine.getVcpus()) {
      vcpu.initCpuid(1).setWithCaveats(0, leaf);
      vcpu.getCpuid()[0].setEbx((leaf.getEbx() & 0xffffff) | vcpu.getApicId() << 24);
    }
  }
}

}  // namespace

namespace {

// State letter and parent of a process, or nothing.
std::optional<std::pair<char, pid_t>> stateOf(pid_t pid) {
  const auto stat = readFileIfThere(text("/proc/", pid, "/stat"));
  if (!stat) return std::nullopt;
  char state = 0;
  pid_t parent = 0;
  if (sscanf(stat->c_str() + stat->rfind(')'), ") %c %d", &state, &parent) != 2) return std::nullopt;
  return std::pair(state, parent);
}

}  // namespace

namespace {

const std::string& probeLine() {
  static const std::string line = [] {
    const Fd output = makeMemfd("probe", 0);
    SpawnOptions options;
    options.executable = toolPath("ktstr-orchestrator");
    options.arguments = {"probe"};
    options.standardOutput = output.get();
    spawn(options).wait();
    return readAll(output.get());
  }();
  return line;
}

}  // namespace

std::string whyNoKvm() {
  const bool some = kvmRunsLinux() || probeLine().find("\"flat-only\"") != std::string::npos;
  return some ? "" : "/dev/kvm runs no guest here: " + probeLine();
}

bool kvmRunsLinux() {
  return probeLine().find("\"hardware\"") != std::string::npos;
}

SpawnOptions serving(const std::string& program, const std::string& directory) {
  SpawnOptions options;
  options.executable = toolPath("ktstr");
  options.arguments = {"serve", "--dir", directory, "--accel", program == "ktstr-vmm" ? "kvm" : "tcg"};
  return options;
}

TestClient::TestClient(const char* program, std::vector<std::string> environment) {
  auto control = makeSocketPair(), observe = makeSocketPair(), gate = makeSocketPair();
  SpawnOptions options;
  options.executable = toolPath(program);
  options.arguments = {"--control-fd", "3", "--observe-fd", "4", "--gate-fd", "5"};
  for (char** variable = environ; *variable != nullptr; ++variable) options.environment.push_back(*variable);
  for (std::string& variable : environment) {
    const std::string name = variable.substr(0, variable.find('=') + 1);
    std::erase_if(options.environment, [&](const std::string& other) { return other.starts_with(name); });
    options.environment.push_back(std::move(variable));
  }
  options.descriptors = {{control.second.get(), 3}, {observe.second.get(), 4}, {gate.second.get(), 5}};
  child_ = spawn(options);
  connect(std::move(control.first), std::move(observe.first), std::move(gate.first));
}

TestClient::TestClient(Child child, Fd control, Fd observe, Fd gate) : child_(std::move(child)) {
  connect(std::move(control), std::move(observe), std::move(gate));
}

void TestClient::connect(Fd control, Fd observe, Fd gate) {
  const auto connected = [this](Fd end) {
    return end ? std::make_unique<Connection>(*io_.lowLevelProvider, std::move(end),
                                              capnp::Capability::Client(nullptr))
               : nullptr;
  };
  control_ = connected(std::move(control));
  observe_ = connected(std::move(observe));
  gate_ = connected(std::move(gate));
}

void TestClient::give(rpc::MemoryKind kind, const Fd& fd) {
  auto request = vmm().giveMemoryRequest();
  request.setKind(kind);
  request.setFd(giveFd(fd.duplicate()).castAs<rpc::Fd>());
  wait(request.send());
}

void TestClient::giveMemory(const TestMachine& machine) {
  give(rpc::MemoryKind::RAM, machine.ram);
  give(rpc::MemoryKind::BASE, machine.base);
  give(rpc::MemoryKind::MAILBOX, machine.mailbox);
}

capnp::Request<rpc::Vmm::BootParams, rpc::Vmm::BootResults> TestClient::bootRequest(
    const TestMachine& machine) {
  auto request = vmm().bootRequest();
  auto prepared = request.initMachine();
  machine.describe(prepared);
  const auto info = wait(vmm().infoRequest().send());
  setCpuid(prepared, info.getInfo().getCpuid());
  giveMemory(machine);
  return request;
}

rpc::Machine::Client TestClient::boot(const TestMachine& machine) {
  return wait(bootRequest(machine).send()).getMachine();
}

void TestClient::takeDoorbell(rpc::Machine::Client machine) {
  auto answer = wait(machine.doorbellRequest().send());
  doorbell_ = descriptorOf(*this, answer.getStream());
}

void TestClient::ring(std::string_view bytes) {
  writeAll(doorbell_.get(), bytes);
}

char TestClient::hear() {
  pollfd readable{doorbell_.get(), POLLIN, 0};
  char byte = 0;
  if (poll(&readable, 1, 10000) != 1 || read(doorbell_.get(), &byte, 1) != 1) {
    throw Error(ExitCode::infrastructure, "guest-silent", "the guest did not answer on the doorbell");
  }
  return byte;
}

Fd descriptorOf(TestClient& client, rpc::Fd::Client fd) {
  return client.wait(takeFd(kj::mv(fd)));
}

std::vector<pid_t> descendants(pid_t parent) {
  std::vector<pid_t> found;
  DIR* proc = opendir("/proc");
  while (const dirent* entry = readdir(proc)) {
    const pid_t pid = atoi(entry->d_name);
    const auto state = pid > 0 ? stateOf(pid) : std::nullopt;
    if (!state || state->second != parent) continue;
    found.push_back(pid);
    const auto below = descendants(pid);
    found.insert(found.end(), below.begin(), below.end());
  }
  closedir(proc);
  return found;
}

bool exists(pid_t pid) {
  const auto state = stateOf(pid);
  return state && state->first != 'Z' && state->first != 'X';
}

bool eventually(int milliseconds, const std::function<bool()>& condition) {
  for (int waited = 0; !condition(); waited += 5) {
    if (waited >= milliseconds) return false;
    usleep(5000);
  }
  return true;
}

}  // namespace ktstr::vmm
