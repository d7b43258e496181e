#include "vmm/machine_check.h"

#include <capnp/message.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "protocol/error.h"

namespace ktstr::vmm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

// A good machine of 3 GiB, four vCPUs, with everything, for tests to spoil.
struct Sample {
  capnp::MallocMessageBuilder arena;
  rpc::PreparedMachine::Builder machine = arena.initRoot<rpc::PreparedMachine>();
  GivenMemory memory{.ram = MemoryFacts{3 * kGiB, 0, true},
                     .base = MemoryFacts{kMiB, std::nullopt, false},
                     .mailbox = MemoryFacts{4 * kMiB, 0, true}};

  Sample() {
    auto topology = machine.initTopology();
    topology.setLlcs(2);
    topology.setCoresPerLlc(2);
    topology.setThreadsPerCore(1);
    auto vcpus = machine.initVcpus(4);
    for (unsigned i = 0; i < 4; ++i) vcpus[i].setApicId(i);
    vcpus[0].setRunnable(true);
    vcpus[0].setRip(16 * kMiB);
    vcpus[0].setRsi(0x7000);
    vcpus[0].setRsp(0x7000);
    vcpus[0].setCr3(0x9000);
    vcpus[0].setGdtGpa(0xf000);
    vcpus[0].setGdtLimit(0x1f);
  }
  CheckedMachine check() { return checkMachine(machine.asReader(), memory); }
  rpc::VcpuState::Builder vcpu(unsigned i) { return machine.getVcpus()[i]; }
  void setMsr(uint32_t index, uint64_t value) {
    auto msr = machine.initMsrs(1)[0];
    msr.setIndex(index);
    msr.setValue(value);
  }
};

// The error for a sample that was spoilt.
std::string spoilt(const std::function<void(Sample&)>& spoil) {
  Sample sample;
  spoil(sample);
  try {
    sample.check();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

#define EXPECT_INVALID(field, ...)                    \
  EXPECT_THAT(spoilt([](Sample& s) { __VA_ARGS__; }), \
              AllOf(StartsWith("machine-invalid: " field), HasSubstr("must be ")))

TEST(MachineCheck, GoodMachineIsTakenOver) {
  Sample sample;
  const CheckedMachine machine = sample.check();
  EXPECT_EQ(machine.vcpus, 4u);
  EXPECT_EQ(machine.ramBytes(), 3 * kGiB);
  EXPECT_EQ(machine.boot.rip, 16 * kMiB);
  EXPECT_EQ(machine.apicIds, (std::vector<uint32_t>{0, 1, 2, 3}));
}

void expectAt(const Region& region, uint64_t gpa, uint64_t size, uint64_t offset) {
  EXPECT_EQ(region.gpa, gpa);
  EXPECT_EQ(region.size, size);
  EXPECT_EQ(region.offset, offset);
}

TEST(MachineCheck, MemoryIsPlacedInARow) {
  Sample sample;
  CheckedMachine machine = sample.check();
  ASSERT_EQ(machine.ram.size(), 2u);
  expectAt(machine.ram[0], 0, 2 * kGiB, 0);
  expectAt(machine.ram[1], 4 * kGiB, kGiB, 2 * kGiB);
  expectAt(*machine.base, 5 * kGiB, kMiB, 0);
  expectAt(*machine.mailbox, 5 * kGiB + kMiB, 4 * kMiB, 0);

  sample.memory.ram->size = 512 * kMiB;
  machine = sample.check();
  ASSERT_EQ(machine.ram.size(), 1u);
  expectAt(*machine.base, 512 * kMiB, kMiB, 0);
  expectAt(*machine.mailbox, 513 * kMiB, 4 * kMiB, 0);

  sample.memory.ram->size = 2 * kGiB;  // the rest begins behind the split
  machine = sample.check();
  ASSERT_EQ(machine.ram.size(), 1u);
  expectAt(*machine.base, 4 * kGiB, kMiB, 0);
}

TEST(MachineCheck, BaseAndMailboxMayBeAbsent) {
  Sample sample;
  sample.memory.base.reset();
  EXPECT_FALSE(sample.check().base);
  expectAt(*sample.check().mailbox, 5 * kGiB, 4 * kMiB, 0);
  sample.memory.mailbox.reset();
  EXPECT_FALSE(sample.check().mailbox);
}

TEST(MachineCheck, Topology) {
  EXPECT_INVALID("topology.llcs is 0", s.machine.getTopology().setLlcs(0));
  EXPECT_INVALID("topology.coresPerLlc is 0", s.machine.getTopology().setCoresPerLlc(0));
  EXPECT_INVALID("topology.threadsPerCore is 0", s.machine.getTopology().setThreadsPerCore(0));
  EXPECT_INVALID("topology.threadsPerCore", s.machine.getTopology().setThreadsPerCore(0xffffffff));
  EXPECT_INVALID("topology.llcs is 513", s.machine.getTopology().setLlcs(513));
  EXPECT_INVALID("topology's number of vCPUs is 516", s.machine.getTopology().setCoresPerLlc(258));
  EXPECT_INVALID("vcpus' number is 4", s.machine.getTopology().setThreadsPerCore(2));
}

TEST(MachineCheck, Sizes) {
  EXPECT_INVALID("ram is absent", s.memory.ram.reset());
  EXPECT_INVALID("ram's size is 0", s.memory.ram->size = 0);
  EXPECT_INVALID("ram's size is 4096", s.memory.ram->size = 4096);
  EXPECT_INVALID("ram's size", s.memory.ram->size = ~uint64_t{0});
  EXPECT_INVALID("ram's size", s.memory.ram->size = uint64_t{1} << 63);
  EXPECT_INVALID("base's size is 0", s.memory.base->size = 0);
  EXPECT_INVALID("base's size is 100", s.memory.base->size = 100);
  EXPECT_INVALID("base's size", s.memory.base->size = ~uint64_t{0} - 4095);
  EXPECT_INVALID("base's size", s.memory.ram->size = kMaxMemory);
  EXPECT_INVALID("mailbox's size", s.memory.mailbox->size = kMaxMemory - 4096);
  EXPECT_INVALID("mailbox's size is 1", s.memory.mailbox->size = 1);
}

TEST(MachineCheck, NothingButRamCrossesTwoGiB) {
  EXPECT_INVALID("mailbox's size", s.memory.ram->size = 2 * kGiB - 2 * kMiB);
  EXPECT_INVALID("base's size", s.memory.ram->size = 2 * kGiB - 2 * kMiB; s.memory.base->size = 4 * kMiB);
}

TEST(MachineCheck, Objects) {
  EXPECT_INVALID("ram is not a memfd", s.memory.ram->seals.reset());
  EXPECT_INVALID("ram's seals", s.memory.ram->seals = F_SEAL_SEAL);
  EXPECT_INVALID("ram's seals", s.memory.ram->seals = F_SEAL_WRITE);
  EXPECT_INVALID("ram's seals", s.memory.ram->seals = F_SEAL_FUTURE_WRITE);
  EXPECT_INVALID("ram is a descriptor not open for writing", s.memory.ram->writable = false);
  EXPECT_INVALID("base is a descriptor open for writing", s.memory.base->writable = true);
  EXPECT_INVALID("mailbox is not a memfd", s.memory.mailbox->seals.reset());
  EXPECT_INVALID("mailbox is a descriptor not open for writing", s.memory.mailbox->writable = false);
}

TEST(MachineCheck, Vcpus) {
  EXPECT_INVALID("vcpus' number is 3", s.machine.initVcpus(3));
  EXPECT_INVALID("vcpus[0].runnable", s.vcpu(0).setRunnable(false));
  EXPECT_INVALID("vcpus[2].runnable", s.vcpu(2).setRunnable(true));
  EXPECT_INVALID("vcpus[3].apicId", s.vcpu(3).setApicId(1));
  EXPECT_INVALID("vcpus[0].apicId is 5 (0x5), must be 0", s.vcpu(0).setApicId(5));
  EXPECT_INVALID("vcpus[0].rip", s.vcpu(0).setRip(2 * kGiB));
  EXPECT_INVALID("vcpus[0].rip", s.vcpu(0).setRip(~uint64_t{0}));
  EXPECT_INVALID("vcpus[0].rsi", s.vcpu(0).setRsi(2 * kGiB - 4095));
  EXPECT_INVALID("vcpus[0].rsp", s.vcpu(0).setRsp(0));
  EXPECT_INVALID("vcpus[0].rsp", s.vcpu(0).setRsp(0x7001));
  EXPECT_INVALID("vcpus[0].rsp", s.vcpu(0).setRsp(2 * kGiB + 8));
  EXPECT_INVALID("vcpus[0].cr3", s.vcpu(0).setCr3(0x9001));
  EXPECT_INVALID("vcpus[0].cr3", s.vcpu(0).setCr3(2 * kGiB));
  EXPECT_INVALID("vcpus[0].gdtGpa", s.vcpu(0).setGdtGpa(2 * kGiB - 16));
  EXPECT_INVALID("vcpus[0].gdtLimit", s.vcpu(0).setGdtLimit(0x17));
  EXPECT_INVALID("vcpus[0].gdtLimit", s.vcpu(0).setGdtLimit(0));
  EXPECT_INVALID("vcpus' number is 5", s.machine.initVcpus(5));
}

void setIndexed(rpc::CpuidEntry::Builder entry, uint32_t index) {
  entry.setFunction(4);
  entry.setIndexed(true);
  entry.setIndex(index);
}

// Of vCPU 2.
capnp::List<rpc::CpuidEntry>::Builder own(Sample& sample, unsigned size) {
  return sample.vcpu(2).initCpuid(size);
}

TEST(MachineCheck, Cpuid) {
  EXPECT_INVALID("cpuid's number is 257", s.machine.initCpuid(257));
  EXPECT_INVALID("cpuid[0].function", s.machine.initCpuid(1)[0].setFunction(0x10000));
  EXPECT_INVALID("cpuid[0].function", s.machine.initCpuid(1)[0].setFunction(0x3fffffff));
  EXPECT_INVALID("cpuid[0].function", s.machine.initCpuid(1)[0].setFunction(0x40000100));
  EXPECT_INVALID("cpuid[0].function", s.machine.initCpuid(1)[0].setFunction(0x80010000));
  EXPECT_INVALID("cpuid[0].function", s.machine.initCpuid(1)[0].setFunction(0xffffffff));
  EXPECT_INVALID("cpuid[0].index", s.machine.initCpuid(1)[0].setIndex(1));
  EXPECT_INVALID("cpuid[1].function is 7", auto entries = s.machine.initCpuid(2); entries[0].setFunction(7);
                 entries[1].setFunction(7));
  EXPECT_INVALID("cpuid[2].function is 4", auto entries = s.machine.initCpuid(3); setIndexed(entries[0], 0);
                 setIndexed(entries[1], 1); setIndexed(entries[2], 1));
}

TEST(MachineCheck, CpuidOfAVcpu) {
  EXPECT_INVALID("vcpus[2].cpuid's number is 257", own(s, 257));
  EXPECT_INVALID("vcpus[2].cpuid's number is 255 (0xff), must be at most 256 with those of all vCPUs",
                 s.machine.initCpuid(2)[1].setFunction(1);
                 own(s, 255));
  EXPECT_INVALID("vcpus[2].cpuid[0].function", own(s, 1)[0].setFunction(0x3fffffff));
  EXPECT_INVALID("vcpus[2].cpuid[0].index", own(s, 1)[0].setIndex(1));
  EXPECT_INVALID("vcpus[2].cpuid[1].function is 7", auto entries = own(s, 2); entries[0].setFunction(7);
                 entries[1].setFunction(7));
  EXPECT_INVALID("vcpus[2].cpuid[0].function is 7", s.machine.initCpuid(1)[0].setFunction(7);
                 own(s, 1)[0].setFunction(7));
}

TEST(MachineCheck, Msrs) {
  EXPECT_INVALID("msrs' number is 3", s.machine.initMsrs(3));
  EXPECT_INVALID("msrs[0].index", s.machine.initMsrs(1)[0].setIndex(0));
  EXPECT_INVALID("msrs[0].index", s.machine.initMsrs(1)[0].setIndex(0xc0000080));  // EFER
  EXPECT_INVALID("msrs[1].index", auto msrs = s.machine.initMsrs(2); msrs[0].setIndex(0x1a0);
                 msrs[1].setIndex(0x1b));  // IA32_APIC_BASE
  EXPECT_INVALID("msrs[0].value is 8 (0x8), must be of these bits: 0x1", s.setMsr(0x1a0, 8));
  EXPECT_INVALID("msrs[0].value", s.setMsr(0x1a0, uint64_t{1} << 34));  // XD disable
  EXPECT_INVALID("msrs[0].value", s.setMsr(0x2ff, 0x1006));
  EXPECT_INVALID("msrs[0].value", s.setMsr(0x2ff, ~uint64_t{0}));
}

TEST(MachineCheck, CpuidAndMsrsAreTakenOver) {
  Sample sample;
  auto cpuid = sample.machine.initCpuid(2);
  for (unsigned i = 0; i < 2; ++i) {
    cpuid[i].setFunction(0x8000001d);
    cpuid[i].setIndexed(true);
    cpuid[i].setIndex(i);
  }
  for (unsigned i = 0; i < 4; ++i) {
    auto own = sample.vcpu(i).initCpuid(1)[0];
    own.setFunction(0x8000001e);
    own.setEax(i);
  }
  auto msr = sample.machine.initMsrs(1)[0];
  msr.setIndex(0x2ff);
  msr.setValue(0xc06);
  const CheckedMachine machine = sample.check();
  ASSERT_EQ(machine.cpuid.size(), 4u);
  for (unsigned i = 0; i < 4; ++i) {
    ASSERT_EQ(machine.cpuid[i].size(), 3u);
    EXPECT_EQ(machine.cpuid[i][1].index, 1u);
    EXPECT_EQ(machine.cpuid[i][1].flags, static_cast<uint32_t>(KVM_CPUID_FLAG_SIGNIFCANT_INDEX));
    EXPECT_EQ(machine.cpuid[i][2].function, 0x8000001eu);
    EXPECT_EQ(machine.cpuid[i][2].flags, 0u);
    EXPECT_EQ(machine.cpuid[i][2].eax, i);
  }
  ASSERT_EQ(machine.msrs.size(), 1u);
  EXPECT_EQ(machine.msrs[0].value, 0xc06u);
}

}  // namespace
}  // namespace ktstr::vmm
