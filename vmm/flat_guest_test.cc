// What a guest can do to its machine, one thing at a time: a flat guest (vmm/flat/guest.S) on each
// accelerator.
#include <gmock/gmock.h>
#include <unistd.h>

#include <vector>

#include "protocol/text.h"
#include "vmm/test_fixture.h"

namespace ktstr::vmm {
namespace {

using testing::Each;
using testing::HasSubstr;

class FlatGuest : public MachineTest {
 protected:
  using MachineTest::MachineTest;

  Mapping mapMailbox() { return {machine_.mailbox.get(), 0, machine_.mailboxBytes, PROT_READ | PROT_WRITE}; }
  Fd takeConsole() {
    auto answer = client_.wait(vm_->consoleRequest().send());
    return descriptorOf(client_, answer.getStream());
  }
  // The next `size` bytes of the console.
  std::string readConsole(const Fd& console, size_t size) {
    std::string bytes(size, '\0');
    size_t total = 0;
    while (total < size) {
      const ssize_t got = read(console.get(), bytes.data() + total, size - total);
      if (got <= 0) break;
      total += static_cast<size_t>(got);
    }
    bytes.resize(total);
    return bytes;
  }
  // Ends the machine from inside; what its record says.
  std::string endOf(const char* command, rpc::ExitKind kind) {
    client_.ring(command);
    const auto answer = exitOf();
    EXPECT_EQ(answer.getExit().getKind(), kind);
    return answer.getExit().getDetail().cStr();
  }
};

TEST_P(FlatGuest, WholeMailboxPatternIsSeenByBothSides) {
  start();
  const Mapping mailbox = mapMailbox();
  const auto pattern = [](size_t i) { return static_cast<std::byte>(i * 7 + i / 251); };
  for (size_t i = 0; i < mailbox.size(); ++i) mailbox.data()[i] = pattern(i);
  command("i");
  size_t wrong = 0;
  for (size_t i = 0; i < mailbox.size(); ++i) wrong += mailbox.data()[i] != ~pattern(i);
  EXPECT_EQ(wrong, 0u);
}

TEST_P(FlatGuest, UnknownPortsReadAsOnesAndAreCounted) {
  start();
  const Mapping mailbox = mapMailbox();
  command("p");
  uint8_t byte = 0;
  uint16_t word = 0;
  uint32_t doubleWord = 0;
  memcpy(&byte, mailbox.data(), sizeof byte);
  memcpy(&word, mailbox.data() + 2, sizeof word);
  memcpy(&doubleWord, mailbox.data() + 4, sizeof doubleWord);
  EXPECT_EQ(byte, 0xff);
  EXPECT_EQ(word, 0xffff);
  EXPECT_EQ(doubleWord, 0xffffffff);
  EXPECT_THAT(std::vector(mailbox.data() + 8, mailbox.data() + 16), Each(std::byte{0xff})) << "string input";
  const std::string record = endOf("r", rpc::ExitKind::RESET);
  if (!onKvm()) return;  // QEMU does not count
  EXPECT_THAT(record, HasSubstr("12 accesses to ports without a device (last 0x1234)"));
}

TEST_P(FlatGuest, UnknownMemoryReadsAsOnesAndIsCounted) {
  if (!onKvm()) GTEST_SKIP() << "what QEMU answers there is QEMU's";
  start();
  const Mapping mailbox = mapMailbox();
  command("u");
  EXPECT_THAT(std::vector(mailbox.data(), mailbox.data() + 8), Each(std::byte{0xff}));
  EXPECT_THAT(endOf("r", rpc::ExitKind::RESET),
              HasSubstr("2 to memory that is not there or read-only (last 0x80000000)"));
}

TEST_P(FlatGuest, WriteToTheReadOnlySlotIsCounted) {
  if (!onKvm()) GTEST_SKIP() << "QEMU gives the guest a private copy";
  start();
  command("w");
  EXPECT_THAT(
      endOf("r", rpc::ExitKind::RESET),
      HasSubstr(text("1 to memory that is not there or read-only (last ", hex(machine_.baseGpa()), ")")));
}

TEST_P(FlatGuest, PowerOffIsToldFromReset) {
  start();
  const std::string detail = endOf("o", rpc::ExitKind::POWER_OFF);
  if (onKvm()) {
    EXPECT_EQ(detail, "the guest powered off");
  }
}

TEST_P(FlatGuest, HaltedGuestUsesNoTimeAndCanBeFrozenAndStopped) {
  start();
  expectAlive();
  client_.ring("h");
  const auto quiet = [&] {
    const uint64_t before = word(kFlatCounter);
    usleep(20'000);
    return word(kFlatCounter) == before;
  };
  ASSERT_TRUE(eventually(5000, quiet));
  if (onKvm()) {
    const auto nanos = [&] {
      return client_.wait(client_.observer().vcpuTimesRequest().send()).getNanos()[0];
    };
    const uint64_t before = nanos();
    usleep(50'000);
    EXPECT_LT(nanos(), before + 10'000'000);
  }
  freeze();
  thaw();
  EXPECT_TRUE(quiet()) << "a freeze wakes nobody";
  client_.wait(vm_->stopRequest().send());
  EXPECT_EQ(exitOf().getExit().getKind(), rpc::ExitKind::STOPPED);
}

TEST_P(FlatGuest, DoorbellInterruptsAHaltedGuest) {
  start();
  for (uint64_t round = 1; round <= 20; ++round) {
    const uint64_t before = word(kFlatInterrupts);
    command("a");
    if (round % 2 == 0) {  // across a freeze as well
      freeze();
      client_.ring("e5");
      thaw();
    } else {
      client_.ring("e5");
    }
    EXPECT_EQ(client_.hear(), '6');
    EXPECT_GT(word(kFlatInterrupts), before);
    EXPECT_LE(word(kFlatInterrupts), before + 2) << "at most one for each byte";
  }
}

TEST_P(FlatGuest, DoorbellFloodLosesNothing) {
  start();
  std::string all;
  for (int i = 0; i < 1000; ++i) all += {'e', static_cast<char>(i % 100)};
  client_.ring(all);
  int wrong = 0;
  for (int i = 0; i < 1000; ++i) wrong += client_.hear() != static_cast<char>(i % 100 + 1);
  EXPECT_EQ(wrong, 0);
}

TEST_P(FlatGuest, ConsoleNobodyReadsHoldsTheGuestNotTheMachine) {
  start();
  expectAlive();
  client_.ring("l");
  for (int i = 0; i < 3; ++i) {
    freeze();
    thaw();
  }
  usleep(100'000);
  const Fd console = takeConsole();
  EXPECT_EQ(readConsole(console, 4096), std::string(4096, 'x'));
  EXPECT_EQ(client_.hear(), 'k');
}

TEST_P(FlatGuest, ConsoleWrittenBlindlyLosesBytesNotTheMachine) {
  start();
  command("b");
  const Fd console = takeConsole();
  EXPECT_THAT(readConsole(console, 1), testing::AnyOf("B", "A", "S", "E"));
  expectAlive();
}

TEST_P(FlatGuest, StopEndsAFloodOfTheConsole) {
  start();
  expectAlive();
  client_.ring("l");
  client_.wait(vm_->stopRequest().send());
  EXPECT_EQ(exitOf().getExit().getKind(), rpc::ExitKind::STOPPED);
}

KTSTR_ON_BOTH_ACCELERATORS(FlatGuest);

class FlatClockGuest : public FlatGuest {
 protected:
  // PVCLOCK_GUEST_STOPPED in pvclock_vcpu_time_info.flags (Documentation/virt/kvm/x86/msr.rst): the guest's
  // watchdogs then forgive the time that has passed (kvm_check_and_clear_guest_paused()). It stays until the
  // guest takes it back.
  bool isToldOfAStop() { return (std::to_integer<int>(ramView_.data()[kFlatKvmClock + 29]) & 2) != 0; }
};

TEST_P(FlatClockGuest, IsToldOfAFreezeAndOfNothingElse) {
  start();
  command("t");
  ASSERT_TRUE(eventually(5000, [&] { return word(kFlatKvmClock + 8) != 0; })) << "KVM keeps no time there";
  expectAlive();
  EXPECT_FALSE(isToldOfAStop());
  freeze();
  thaw();
  EXPECT_TRUE(eventually(5000, [&] { return isToldOfAStop(); }));
}

// QEMU's TCG has no kvm-clock.
INSTANTIATE_TEST_SUITE_P(On, FlatClockGuest, testing::Values("ktstr-vmm"), acceleratorName);

constexpr uint32_t kCpus = 8;

class FlatSmpGuest : public FlatGuest {
 protected:
  FlatSmpGuest() : FlatGuest(kCpus) {}
  // How far each vCPU is.
  std::vector<uint64_t> counters() {
    std::vector<uint64_t> all{word(kFlatCounter)};
    for (uint32_t i = 1; i < kCpus; ++i) all.push_back(word(kFlatApCounters + i * 8));
    return all;
  }
  bool allMoved(const std::vector<uint64_t>& since) {
    const std::vector<uint64_t> now = counters();
    for (size_t i = 0; i < now.size(); ++i) {
      if (now[i] == since[i]) return false;
    }
    return true;
  }
  void startAll() {
    start();
    expectAlive();
    for (uint32_t i = 1; i < kCpus; ++i) EXPECT_EQ(counters()[i], 0u) << "before INIT and SIPI";
    command("s");
    ASSERT_TRUE(eventually(10'000, [&] { return allMoved(std::vector<uint64_t>(kCpus)); }));
  }
};

TEST_P(FlatSmpGuest, StartsEveryVcpuBySipi) {
  startAll();
  EXPECT_EQ(word(kFlatApCounters), 0u) << "the boot vCPU is not started again";
  EXPECT_EQ(word(kFlatStarts), 1u);
}

TEST_P(FlatSmpGuest, FreezeStopsEveryVcpuUnderLoadAndThawResumesIt) {
  startAll();
  for (int round = 0; round < 3; ++round) {
    freeze();
    const auto frozen = counters();
    usleep(10'000);
    EXPECT_EQ(counters(), frozen);
    thaw();
    ASSERT_TRUE(eventually(10'000, [&] { return allMoved(frozen); })) << round;
  }
}

TEST_P(FlatSmpGuest, RunawayVcpusAreStopped) {
  startAll();
  client_.wait(vm_->stopRequest().send());
  EXPECT_EQ(exitOf().getExit().getKind(), rpc::ExitKind::STOPPED);
}

TEST_P(FlatSmpGuest, ResetByOneEndsAll) {
  startAll();
  endOf("r", rpc::ExitKind::RESET);
}

KTSTR_ON_BOTH_ACCELERATORS(FlatSmpGuest);

class FlatFarGuest : public FlatGuest {
 protected:
  static constexpr uint32_t kFarId = 300;
  FlatFarGuest() : FlatGuest(2) { machine_.lastApicId = kFarId; }
};

TEST_P(FlatFarGuest, VcpuThatNo8BitDestinationReachesIsStartedByX2Apic) {
  start();
  command("x");
  EXPECT_TRUE(eventually(10'000, [&] { return word(kFlatApCounters + kFarId % 256 * 8) > 0; }));
  EXPECT_EQ(word(kFlatStarts), 1u);
}

// By a split irqchip and an I/O APIC of ours: KVM's own has destinations of 8 bits, and this is in the 9th.
TEST_P(FlatFarGuest, LineOfTheIoApicInterruptsAVcpuThatNo8BitDestinationReaches) {
  start();
  command("y");
  const uint64_t before = word(kFlatInterrupts);
  for (uint64_t ring = 1; ring <= 3; ++ring) {
    expectAlive();  // rings the doorbell
    EXPECT_TRUE(eventually(10'000, [&] { return word(kFlatInterrupts) >= before + ring; })) << ring;
  }
  EXPECT_EQ(word(kFlatStarts), 1u);
  const std::string record = endOf("r", rpc::ExitKind::RESET);
  EXPECT_EQ(record.find("to memory that is not there"), std::string::npos) << record;
}

// QEMU numbers its vCPUs itself.
INSTANTIATE_TEST_SUITE_P(On, FlatFarGuest, testing::Values("ktstr-vmm"), acceleratorName);

}  // namespace
}  // namespace ktstr::vmm
