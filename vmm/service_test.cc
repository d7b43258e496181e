// The whole VMM as a child with a flat guest: ktstr-vmm-tcg on a real QEMU, and ktstr-vmm on the real
// /dev/kvm.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "protocol/file.h"
#include "protocol/text.h"
#include "vmm/test_fixture.h"

namespace ktstr::vmm {
namespace {

TEST_P(MachineTest, NothingRunsBeforeStart) {
  auto vm = client_.boot(machine_);
  usleep(50000);
  EXPECT_EQ(word(kFlatStarts), 0u);
  client_.wait(vm.startRequest().send());
  EXPECT_TRUE(eventually(5000, [&] { return word(kFlatCounter) > 0; }));
  EXPECT_EQ(word(kFlatStarts), 1u);
  EXPECT_EQ(word(kFlatRsi), kFlatBootParams);
  EXPECT_ERROR("already-started", client_.wait(vm.startRequest().send()));
}

TEST_P(MachineTest, DoorbellGoesBothWaysAndConsoleOut) {
  start();
  client_.ring("e5");
  EXPECT_EQ(client_.hear(), '6');
  auto answer = client_.wait(vm_->consoleRequest().send());
  const Fd console = descriptorOf(client_, answer.getStream());
  command("c");
  char bytes[3];
  ASSERT_EQ(read(console.get(), bytes, 3), 3);
  EXPECT_EQ(std::string(bytes, 3), "hi\n");
  EXPECT_ERROR("stream-taken", client_.wait(vm_->consoleRequest().send()));
  EXPECT_ERROR("stream-taken", client_.wait(vm_->doorbellRequest().send()));
}

TEST_P(MachineTest, MailboxIsSharedAndBaseIsReadOnlyForTheHostFile) {
  start();
  const Mapping mailbox(machine_.mailbox.get(), 0, machine_.mailboxBytes, PROT_READ | PROT_WRITE);
  mailbox.data()[1] = std::byte{0x0f};
  command("i");
  EXPECT_EQ(mailbox.data()[1], std::byte{0xf0});
  command("m");
  EXPECT_EQ(memcmp(mailbox.data() + 4096, "BASEBASE", 8), 0);
  EXPECT_EQ(memcmp(mailbox.data() + 8184, "BASEBASE", 8), 0);
  command("w");
  // QEMU gives the guest a private copy, KVM drops what is written to a read-only slot.
  EXPECT_EQ(mailbox.data()[0], onKvm() ? std::byte{'B'} : std::byte{0xee});
  EXPECT_EQ(readFile(machine_.basePath).substr(0, 8), "BASEBASE");
}

TEST_P(MachineTest, ObserverGetsRamThatCannotBeMappedWritable) {
  start();
  auto answer = client_.wait(client_.observer().memoryRequest().send());
  const Fd ram = descriptorOf(client_, answer.getFd());
  ASSERT_EQ(answer.getRegions().size(), 1u);
  EXPECT_EQ(answer.getRegions()[0].getSize(), machine_.ramBytes);
  const Mapping readable(ram.get(), 0, machine_.ramBytes, PROT_READ);
  ASSERT_TRUE(eventually(5000, [&] { return word(kFlatStarts) == 1; }));
  EXPECT_EQ(*reinterpret_cast<uint64_t*>(readable.data() + kFlatStarts), 1u);
  const auto tryWritable = [&](int fd) {
    const void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return map == MAP_FAILED ? errno : 0;
  };
  EXPECT_EQ(tryWritable(ram.get()), EPERM);
  const Fd reopened = openFile(text("/proc/self/fd/", ram.get()), O_RDWR);
  EXPECT_EQ(tryWritable(reopened.get()), EPERM);
  EXPECT_EQ(pwrite(reopened.get(), "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(reopened.get(), 0), -1);
  EXPECT_NE(mprotect(readable.data(), 4096, PROT_READ | PROT_WRITE), 0);
  const int mailboxSeals = fcntl(machine_.mailbox.get(), F_GET_SEALS);
  EXPECT_EQ(mailboxSeals, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

TEST_P(MachineTest, ObserverWaitsForBoot) {
  auto early = client_.observer().memoryRequest().send();
  start();
  auto answer = client_.wait(kj::mv(early));
  EXPECT_TRUE(descriptorOf(client_, answer.getFd()));
}

TEST_P(MachineTest, FreezeStopsTheGuestAndThawResumesIt) {
  start();
  ASSERT_TRUE(eventually(5000, [&] { return word(kFlatCounter) > 0; }));
  EXPECT_ERROR("not-frozen", client_.wait(vm_->thawRequest().send()));
  for (int i = 0; i < 5; ++i) {
    client_.wait(vm_->freezeRequest().send());
    client_.wait(vm_->freezeRequest().send());
    const uint64_t frozen = word(kFlatCounter);
    usleep(20000);
    EXPECT_EQ(word(kFlatCounter), frozen);
    client_.wait(vm_->thawRequest().send());
    usleep(20000);
    EXPECT_EQ(word(kFlatCounter), frozen) << "one thaw of two";
    client_.wait(vm_->thawRequest().send());
    EXPECT_TRUE(eventually(5000, [&] { return word(kFlatCounter) > frozen; }));
  }
}

TEST_P(MachineTest, LeaseThawsWhenDroppedAndByItself) {
  start();
  ASSERT_TRUE(eventually(5000, [&] { return word(kFlatCounter) > 0; }));
  const auto moves = [&] {
    const uint64_t before = word(kFlatCounter);
    usleep(20000);
    return word(kFlatCounter) != before;
  };
  {
    auto lease = client_.wait(client_.observer().freezeLeaseRequest().send()).getLease();
    EXPECT_FALSE(moves());
    EXPECT_ERROR("not-frozen", client_.wait(vm_->thawRequest().send()));
    EXPECT_FALSE(moves()) << "the lease is not control's to end";
  }
  client_.wait(vm_->observerRequest().send());  // sends the release along
  EXPECT_TRUE(eventually(5000, moves));
  const uint64_t begin = monotonicNs();
  auto lease = client_.wait(client_.observer().freezeLeaseRequest().send()).getLease();
  EXPECT_FALSE(moves());
  EXPECT_TRUE(eventually(5000, moves)) << "held lease must expire";
  EXPECT_GE(monotonicNs() - begin, 900'000'000u);
}

TEST_P(MachineTest, GateWritesInsideItsRangesOnly) {
  start();
  const auto write = [&](rpc::WriteGate::Client gate, uint64_t gpa, size_t size) {
    auto request = gate.writeRequest();
    request.setGpa(gpa);
    memset(request.initBytes(static_cast<unsigned>(size)).begin(), 'G', size);
    client_.wait(request.send());
  };
  const auto grant = [&](uint64_t gpa, uint64_t size, bool publish) {
    auto request = vm_->writeGateRequest();
    auto range = request.initRanges(1)[0];
    range.setGpa(gpa);
    range.setSize(size);
    request.setPublish(publish);
    return client_.wait(request.send()).getGate();
  };
  EXPECT_ERROR("gate-refused", write(client_.gate(), 0x200000, 8));
  auto gate = grant(0x200000, 4096, false);
  write(gate, 0x200000, 4096);
  EXPECT_EQ(word(0x200ff8), 0x4747474747474747u);
  EXPECT_ERROR("gate-refused", write(gate, 0x1fffff, 2));
  EXPECT_ERROR("gate-refused", write(gate, 0x200fff, 2));
  EXPECT_ERROR("gate-refused", write(gate, 0x200000, 0));
  EXPECT_ERROR("gate-refused", write(gate, ~uint64_t{0}, 2));
  EXPECT_ERROR("gate-refused", write(client_.gate(), 0x200000, 8));
  grant(0x300000, 0x80000, true);
  write(client_.gate(), 0x300000, 65536);
  EXPECT_ERROR("gate-refused", write(client_.gate(), 0x300000, 65537));
  EXPECT_ERROR("gate-refused", write(client_.gate(), 0x200000, 8));
  EXPECT_ERROR("gate-range-invalid", grant(machine_.mailboxGpa(), 8, false));
  EXPECT_ERROR("gate-range-invalid", grant(machine_.ramBytes - 4, 8, false));
  EXPECT_ERROR("gate-range-invalid", grant(0, 0, false));
  EXPECT_ERROR("gate-range-invalid", grant(8, ~uint64_t{0}, false));
  const auto grantMany = [&](unsigned count) {
    auto request = vm_->writeGateRequest();
    for (auto range : request.initRanges(count)) range.setSize(8);
    client_.wait(request.send());
  };
  grantMany(1024);
  EXPECT_ERROR("gate-range-invalid: 1025 ranges, must be at most 1024", grantMany(1025));
}

TEST_P(MachineTest, GuestResetEndsTheMachine) {
  start();
  client_.ring("r");
  auto answer = exitOf();
  EXPECT_EQ(answer.getExit().getKind(), rpc::ExitKind::RESET) << answer.getExit().getDetail().cStr();
  EXPECT_ERROR("no-machine", client_.wait(client_.observer().memoryRequest().send()));
  EXPECT_ERROR("no-machine", client_.wait(vm_->freezeRequest().send()));
}

TEST_P(MachineTest, TripleFaultIsAReset) {
  start();
  client_.ring("f");
  const auto answer = exitOf();
  const std::string detail = answer.getExit().getDetail().cStr();
  if (onKvm()) {
    EXPECT_NE(detail.find("vCPU 0: rip 0x"), std::string::npos) << detail;
  }
  // A KVM that interprets guest kernel mode gives up at the exception itself.
  const bool interpreted = onKvm() && !kvmRunsLinux();
  EXPECT_EQ(answer.getExit().getKind(), interpreted ? rpc::ExitKind::ENGINE_FAILED : rpc::ExitKind::RESET)
      << detail;
}

TEST_P(MachineTest, StopEndsAndCanBeRepeated) {
  start();
  command("p");
  client_.wait(vm_->stopRequest().send());
  client_.wait(vm_->stopRequest().send());
  const auto answer = exitOf();
  EXPECT_EQ(answer.getExit().getKind(), rpc::ExitKind::STOPPED);
  if (onKvm()) {
    EXPECT_THAT(
        answer.getExit().getDetail().cStr(),
        testing::ContainsRegex("^stopped; RIP by vCPU: 0x100[0-9a-f]{3}; 12 accesses to ports without"));
  }
  EXPECT_ERROR("no-machine", client_.wait(vm_->thawRequest().send()));
}

TEST_P(MachineTest, RegistersAreToldWhileFrozen) {
  start();
  ASSERT_TRUE(eventually(5000, [&] { return word(kFlatCounter) > 0; }));
  const auto registers = [&](uint32_t vcpu) {
    auto request = client_.observer().registersRequest();
    request.setVcpu(vcpu);
    return client_.wait(request.send());
  };
  if (!onKvm()) {
    EXPECT_ERROR("not-supported-by-tcg", registers(0));
    return;
  }
  EXPECT_ERROR("not-frozen", registers(0));
  client_.wait(vm_->freezeRequest().send());
  const auto answer = registers(0);
  EXPECT_GE(answer.getRegisters().getRip(), kFlatEntry);
  EXPECT_LT(answer.getRegisters().getRip(), kFlatEntry + 4096);
  EXPECT_EQ(answer.getRegisters().getCr3(), kFlatPageTables);
  EXPECT_ERROR("vcpu-invalid", registers(1));
}

TEST_P(MachineTest, TimeOfEachVcpuGrowsWhileItRuns) {
  start();
  const auto nanos = [&] {
    const auto answer = client_.wait(client_.observer().vcpuTimesRequest().send());
    EXPECT_EQ(answer.getNanos().size(), 1u);
    return answer.getNanos()[0];
  };
  const uint64_t before = nanos();
  EXPECT_TRUE(eventually(5000, [&] { return nanos() > before + 1'000'000; }));
  client_.wait(vm_->freezeRequest().send());
  const uint64_t frozen = nanos();
  usleep(50000);
  EXPECT_LT(nanos(), frozen + 10'000'000);
}

TEST_P(MachineTest, BootsOnce) {
  start();
  TestMachine other;
  EXPECT_ERROR("already-booted", client_.boot(other));
}

TEST_P(MachineTest, RefusedMachineLeavesTheVmmUsable) {
  auto request = client_.bootRequest(machine_);
  request.getMachine().getVcpus()[0].setRip(machine_.ramBytes);
  EXPECT_ERROR("machine-invalid", client_.wait(request.send()));
  start();
  client_.ring("e1");
  EXPECT_EQ(client_.hear(), '2');
}

TEST_P(MachineTest, ForeignAndWrongMemoryIsRefused) {
  EXPECT_ERROR("memory-invalid", client_.give(rpc::MemoryKind::RAM, makeSocketPair().first));
  EXPECT_ERROR("memory-invalid", client_.give(rpc::MemoryKind::RAM, openFile("/dev/null", O_RDONLY)));
  auto request = client_.vmm().bootRequest();
  machine_.describe(request.initMachine());
  EXPECT_ERROR("machine-invalid: ram is absent", client_.wait(request.send()));
  EXPECT_ERROR("no-descriptor", client_.wait(client_.vmm().giveMemoryRequest().send()));
}

KTSTR_ON_BOTH_ACCELERATORS(MachineTest);

}  // namespace
}  // namespace ktstr::vmm
