// What a client can get wrong, and what the host can lack, on a real VMM over its sockets: refused by name,
// and the VMM lives on.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <vector>

#include "protocol/file.h"
#include "protocol/text.h"
#include "vmm/test_fixture.h"

namespace ktstr::vmm {
namespace {

using testing::StartsWith;

constexpr uint64_t kMiB = uint64_t{1} << 20;

Fd memfdWithout(unsigned flags, uint64_t size) {
  Fd fd(memfd_create("test", (MFD_CLOEXEC | MFD_ALLOW_SEALING) & ~flags));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}
Fd sealed(int seals, uint64_t size) {
  Fd fd = makeMemfd("test", size);
  EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}
Fd readOnly(uint64_t size) {
  const Fd fd = makeMemfd("test", size);
  return openFile(text("/proc/self/fd/", fd.get()), O_RDONLY);
}
Fd regularFile(uint64_t size) {
  char path[] = "/tmp/ktstr-vmm-test-XXXXXX";
  Fd fd(mkostemp(path, O_CLOEXEC));
  unlink(path);
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

class BadInput : public MachineTest {
 protected:
  using MachineTest::MachineTest;
  using Request = capnp::Request<rpc::Vmm::BootParams, rpc::Vmm::BootResults>;

  // The error for a boot request that was spoilt.
  std::string bootError(const std::function<void(Request&)>& spoil) {
    Request request = client_.bootRequest(machine_);
    spoil(request);
    return errorOf([&] { client_.wait(request.send()); });
  }
  void expectUsable() {
    start();
    expectAlive();
  }
  void limitAddressSpace(rlim_t bytes) {
    const rlimit limit{bytes, RLIM_INFINITY};
    ASSERT_EQ(prlimit(client_.process().pid(), RLIMIT_AS, &limit, nullptr), 0);
  }
  // Bytes of address space that the VMM has.
  uint64_t addressSpace() {
    const std::string pages = readFile(text("/proc/", client_.process().pid(), "/statm"));
    return std::stoull(pages) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  }
};

TEST_P(BadInput, WrongMemoryObjectsAreRefused) {
  using rpc::MemoryKind;
  struct Case {
    MemoryKind kind;
    std::function<Fd()> make;
    const char* error;
  };
  const uint64_t ram = machine_.ramBytes, base = machine_.baseBytes, mailbox = machine_.mailboxBytes;
  const MemoryKind r = MemoryKind::RAM, b = MemoryKind::BASE, m = MemoryKind::MAILBOX;
  for (const Case& wrong : std::initializer_list<Case>{
           {r, [&] { return makeMemfd("test", ram - 4096); }, "ram's size"},
           {r, [&] { return makeMemfd("test", 0); }, "ram's size"},
           {r, [&] { return regularFile(ram); }, "ram"},  // no memfd, or on tmpfs one that is sealed
           {r, [&] { return memfdWithout(MFD_ALLOW_SEALING, ram); }, "ram's seals"},
           {r, [&] { return sealed(F_SEAL_SEAL, ram); }, "ram's seals"},
           {r, [&] { return sealed(F_SEAL_WRITE, ram); }, "ram's seals"},
           {r, [&] { return sealed(F_SEAL_FUTURE_WRITE, ram); }, "ram's seals"},
           {r, [&] { return readOnly(ram); }, "ram is a descriptor not open for writing"},
           {b, [&] { return openFile(machine_.basePath, O_RDWR); }, "base is a descriptor open for writing"},
           {b, [&] { return readOnly(base - 1); }, "base's size"},
           {m, [&] { return makeMemfd("test", mailbox - 1); }, "mailbox's size"},
           {m, [&] { return regularFile(mailbox); }, "mailbox"},
           {m, [&] { return readOnly(mailbox); }, "mailbox is a descriptor not open for writing"},
       }) {
    EXPECT_THAT(bootError([&](Request&) { client_.give(wrong.kind, wrong.make()); }),
                StartsWith(text("machine-invalid: ", wrong.error)));
  }
  EXPECT_EQ(errorOf([&] { client_.give(static_cast<MemoryKind>(3), machine_.ram); }),
            "memory-invalid: kind 3 of memory, must be at most 2");
  expectUsable();
}

TEST_P(BadInput, OneObjectCannotBeRamAndMailbox) {
  EXPECT_THAT(bootError([&](Request&) { client_.give(rpc::MemoryKind::MAILBOX, machine_.ram); }),
              StartsWith("seal-failed: seal the mailbox memfd"));
}

TEST_P(BadInput, MemoryIsNoLongerTakenOnceBooted) {
  start();
  EXPECT_THAT(errorOf([&] { client_.give(rpc::MemoryKind::MAILBOX, machine_.mailbox); }),
              StartsWith("already-booted"));
  expectAlive();
}

TEST_P(BadInput, WrongNumbersAreRefused) {
  using Spoil = void (*)(rpc::PreparedMachine::Builder);
  const std::pair<const char*, Spoil> cases[] = {
      {"vcpus' number", [](auto m) { m.initVcpus(0); }},
      {"vcpus' number", [](auto m) { m.initVcpus(2); }},
      {"vcpus' number", [](auto m) { m.initVcpus(100'000); }},
      {"topology.coresPerLlc", [](auto m) { m.getTopology().setCoresPerLlc(0xffffffff); }},
      {"vcpus[0].apicId", [](auto m) { m.getVcpus()[0].setApicId(5); }},
      {"vcpus[0].rip", [](auto m) { m.getVcpus()[0].setRip(~uint64_t{0}); }},
      {"cpuid's number", [](auto m) { m.initCpuid(257); }},
      {"msrs[0].index", [](auto m) { m.initMsrs(1)[0].setIndex(0xc0000080); }},  // EFER
      {"msrs[0].value",
       [](auto m) {
         m.initMsrs(1)[0].setIndex(0x2ff);
         m.getMsrs()[0].setValue(uint64_t{1} << 63);
       }},
  };
  for (const auto& wrong : cases) {
    EXPECT_THAT(bootError([&](Request& request) { wrong.second(request.getMachine()); }),
                StartsWith(text("machine-invalid: ", wrong.first)));
  }
  expectUsable();
}

TEST_P(BadInput, OfManyObjectsOfAKindOneIsHeld) {
  client_.give(rpc::MemoryKind::RAM, machine_.ram);
  const auto held = [&] {
    const std::filesystem::directory_iterator entries(text("/proc/", client_.process().pid(), "/fd"));
    return std::distance(begin(entries), end(entries));
  };
  const auto before = held();
  for (int i = 0; i < 100; ++i) client_.give(rpc::MemoryKind::RAM, machine_.ram);
  EXPECT_EQ(held(), before);
  expectUsable();
}

TEST_P(BadInput, RamForWhichThereIsNoAddressSpaceIsNamed) {
  const TestMachine large(512 * kMiB);
  Request request = client_.bootRequest(large);
  limitAddressSpace(addressSpace() + 256 * kMiB);
  EXPECT_ERROR("map-failed", client_.wait(request.send()));
  limitAddressSpace(RLIM_INFINITY);
  expectUsable();
}

KTSTR_ON_BOTH_ACCELERATORS(BadInput);

class BadInputSmp : public BadInput {
 protected:
  BadInputSmp() : BadInput(8) {}
};

TEST_P(BadInputSmp, ApicIdThatTheEngineCannotGiveIsRefused) {
  const std::string error =
      bootError([](Request& request) { request.getMachine().getVcpus()[7].setApicId(0x7fffffff); });
  EXPECT_THAT(error,
              StartsWith(onKvm() ? "apic-id-too-large: " : "machine-invalid: vcpus[7].apicId is 2147483647"));
  EXPECT_GT(client_.wait(client_.vmm().infoRequest().send()).getInfo().getMaxVcpus(), 0u);
}

TEST_P(BadInputSmp, ThreadsForWhichThereIsNoAddressSpaceAreNamed) {
  if (!onKvm()) GTEST_SKIP() << "QEMU makes the threads";
  rlimit stack{};
  ASSERT_EQ(getrlimit(RLIMIT_STACK, &stack), 0);
  if (stack.rlim_cur != 8 * kMiB) GTEST_SKIP() << "threads' stacks are not of 8 MiB here: " << stack.rlim_cur;
  Request request = client_.bootRequest(machine_);
  limitAddressSpace(addressSpace() + 24 * kMiB);
  EXPECT_ERROR("thread-failed", client_.wait(request.send()));
  limitAddressSpace(RLIM_INFINITY);
  EXPECT_GT(client_.wait(client_.vmm().infoRequest().send()).getInfo().getMaxVcpus(), 0u);
}

KTSTR_ON_BOTH_ACCELERATORS(BadInputSmp);

enum class State { connected, given, booting, booted, running, frozen, stopping };

// Brings a VMM into the state and leaves it there, calls unanswered.
void leaveIn(State state, TestClient& client, const TestMachine& machine) {
  if (state >= State::given) client.give(rpc::MemoryKind::RAM, machine.ram);
  if (state == State::booting) {
    auto booting = client.bootRequest(machine).send();
    client.wait(client.vmm().infoRequest().send());  // answered after the boot has begun
    return client.disconnect();
  }
  if (state < State::booted) return client.disconnect();
  auto vm = client.boot(machine);
  if (state >= State::running) client.wait(vm.startRequest().send());
  if (state == State::frozen) client.wait(vm.freezeRequest().send());
  auto stopping = state == State::stopping ? vm.stopRequest().send().ignoreResult() : kj::NEVER_DONE;
  stopping.poll(client.io().waitScope);
  client.disconnect();
}

class LeavingClient : public testing::TestWithParam<const char*> {};

TEST_P(LeavingClient, EndsEverythingInEachState) {
  if (std::string_view(GetParam()) == "ktstr-vmm") {
    if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
  }
  for (const State state : {State::connected, State::given, State::booting, State::booted, State::running,
                            State::frozen, State::stopping}) {
    SCOPED_TRACE(static_cast<int>(state));
    TestMachine machine;
    TestClient client(GetParam());
    leaveIn(state, client, machine);
    const auto family = descendants(client.process().pid());
    EXPECT_TRUE(eventually(10'000, [&] { return client.process().poll().has_value(); }));
    EXPECT_EQ(client.process().poll().value_or(-1), 0);
    EXPECT_TRUE(eventually(10'000, [&] { return std::none_of(family.begin(), family.end(), exists); }));
  }
}

KTSTR_ON_BOTH_ACCELERATORS(LeavingClient);

}  // namespace
}  // namespace ktstr::vmm
