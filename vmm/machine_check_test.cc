#include "vmm/machine_check.h"

#include <capnp/message.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "protocol/error.h"

namespace ktstr::vmm {
namespace {

using rpc::RegionKind;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

// A good machine of 3 GiB, four vCPUs, with everything, for tests to spoil.
struct Sample {
  capnp::MallocMessageBuilder arena;
  rpc::PreparedMachine::Builder machine = arena.initRoot<rpc::PreparedMachine>();
  std::vector<size_t> memoryOfRegion{0, 0, 1, 2};
  std::vector<MemoryFacts> memories{{3 * kGiB, 0, true}, {kMiB, std::nullopt, false}, {4 * kMiB, 0, true}};

  Sample() {
    machine.setName("sample");
    auto topology = machine.initTopology();
    topology.setLlcs(2);
    topology.setCoresPerLlc(2);
    topology.setThreadsPerCore(1);
    auto regions = machine.initRegions(4);
    const auto set = [&](unsigned i, RegionKind kind, uint64_t gpa, uint64_t size, uint64_t offset) {
      regions[i].setKind(kind);
      regions[i].setGpa(gpa);
      regions[i].setSize(size);
      regions[i].setOffset(offset);
    };
    set(0, RegionKind::RAM, 0, 2 * kGiB, 0);
    set(1, RegionKind::RAM, 4 * kGiB, kGiB, 2 * kGiB);
    set(2, RegionKind::BASE, 5 * kGiB, kMiB, 0);
    set(3, RegionKind::MAILBOX, 5 * kGiB + kMiB, 4 * kMiB, 0);
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
  CheckedMachine check() { return checkMachine(machine.asReader(), memoryOfRegion, memories); }
  rpc::MemoryRegion::Builder region(unsigned i) { return machine.getRegions()[i]; }
  rpc::VcpuState::Builder vcpu(unsigned i) { return machine.getVcpus()[i]; }
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
  ASSERT_EQ(machine.regions.size(), 4u);
  EXPECT_EQ(machine.find(RegionKind::MAILBOX)->gpa, 5 * kGiB + kMiB);
  EXPECT_EQ(machine.boot.rip, 16 * kMiB);
  EXPECT_EQ(machine.apicIds, (std::vector<uint32_t>{0, 1, 2, 3}));
}

TEST(MachineCheck, BaseAndMailboxMayBeAbsent) {
  Sample sample;
  capnp::MallocMessageBuilder arena;
  sample.memoryOfRegion = {0};
  auto only = sample.machine.disownRegions();
  sample.machine.initRegions(1).setWithCaveats(0, only.getReader()[0]);
  const CheckedMachine machine = sample.check();
  EXPECT_EQ(machine.find(RegionKind::BASE), nullptr);
}

TEST(MachineCheck, Name) {
  EXPECT_INVALID("name's length", s.machine.setName(std::string(65, 'x')));
  EXPECT_INVALID("name is not printable", s.machine.setName("a\nb"));
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

TEST(MachineCheck, RegionNumbersAndOrder) {
  EXPECT_INVALID("regions' number is 0", s.machine.initRegions(0));
  EXPECT_INVALID("regions' number is 9", s.machine.initRegions(9));
  EXPECT_INVALID("regions[0].kind is mailbox", s.region(0).setKind(RegionKind::MAILBOX));
  EXPECT_INVALID("regions[1].gpa", s.region(1).setKind(RegionKind::BASE); s.memoryOfRegion[1] = 1;
                 s.region(1).setOffset(0); s.region(1).setGpa(3 * kGiB));
  EXPECT_INVALID("regions[2].kind is ram after ram", s.region(2).setKind(RegionKind::RAM));
  EXPECT_INVALID("regions[3].kind is base after base", s.region(3).setKind(RegionKind::BASE));
  EXPECT_INVALID("regions[3].kind is ram after base", s.region(3).setKind(RegionKind::RAM));
  EXPECT_INVALID("regions[2].kind", s.region(2).setKind(static_cast<RegionKind>(9)));
}

TEST(MachineCheck, RegionPlaces) {
  EXPECT_INVALID("regions[0].gpa is 4096", s.region(0).setGpa(4096));
  EXPECT_INVALID("regions[0].size is 0", s.region(0).setSize(0));
  EXPECT_INVALID("regions[0].size", s.region(0).setSize(4096));
  EXPECT_INVALID("regions[0].size", s.region(0).setSize(2 * kGiB + 2 * kMiB));
  EXPECT_INVALID("regions[0].size", s.region(0).setSize(~uint64_t{0}));
  EXPECT_INVALID("regions[0].size", s.region(0).setSize(uint64_t{1} << 63));
  EXPECT_INVALID("regions[0].offset", s.region(0).setOffset(4096));
  EXPECT_INVALID("regions[1].gpa", s.region(0).setSize(kGiB));
  EXPECT_INVALID("regions[1].gpa", s.region(1).setGpa(2 * kGiB));
  EXPECT_INVALID("regions[1].offset", s.region(1).setOffset(0));
  EXPECT_INVALID("regions[1].size", s.region(1).setSize(kGiB + 2 * kMiB));
  EXPECT_INVALID("regions[1].size", s.region(1).setSize(~uint64_t{0} - 2 * kMiB + 1));
  EXPECT_INVALID("regions[2].gpa", s.region(2).setGpa(5 * kGiB + 4096));
  EXPECT_INVALID("regions[2].size", s.region(2).setSize(kMiB + 4096));
  EXPECT_INVALID("regions[2].size", s.region(2).setSize(100));
  EXPECT_INVALID("regions[2].offset", s.region(2).setOffset(4096));
  EXPECT_INVALID("regions[3].gpa", s.region(3).setGpa(5 * kGiB));
  EXPECT_INVALID("regions[3].size", s.region(3).setSize(8 * kMiB));
}

TEST(MachineCheck, NothingButRamCrossesTwoGiB) {
  EXPECT_INVALID("regions[1].size", s.region(0).setSize(2 * kGiB - 2 * kMiB); s.memoryOfRegion = {0, 2};
                 auto regions = s.machine.disownRegions(); auto two = s.machine.initRegions(2);
                 two.setWithCaveats(0, regions.getReader()[0]); two[1].setKind(RegionKind::MAILBOX);
                 two[1].setGpa(2 * kGiB - 2 * kMiB); two[1].setSize(4 * kMiB));
}

TEST(MachineCheck, Memories) {
  EXPECT_INVALID("regions[0].memory", s.memoryOfRegion[0] = 7);
  EXPECT_INVALID("regions' memories", s.memoryOfRegion.pop_back());
  EXPECT_INVALID("regions[1].memory", s.memoryOfRegion[1] = 1);
  EXPECT_INVALID("regions[2].memory", s.memoryOfRegion[2] = 0);
  EXPECT_INVALID("regions[3].memory", s.memoryOfRegion[3] = 1);
  EXPECT_INVALID("regions[0].size", s.memories[0].size = 4096);
  EXPECT_INVALID("regions[0].memory is not a memfd", s.memories[0].seals.reset());
  EXPECT_INVALID("regions[0].memory's seals", s.memories[0].seals = F_SEAL_SEAL);
  EXPECT_INVALID("regions[0].memory's seals", s.memories[0].seals = F_SEAL_WRITE);
  EXPECT_INVALID("regions[0].memory's seals", s.memories[0].seals = F_SEAL_FUTURE_WRITE);
  EXPECT_INVALID("regions[0].memory is a descriptor not open for writing", s.memories[0].writable = false);
  EXPECT_INVALID("regions[2].memory is a descriptor open for writing", s.memories[1].writable = true);
  EXPECT_INVALID("regions[3].memory is not a memfd", s.memories[2].seals.reset());
}

TEST(MachineCheck, Vcpus) {
  EXPECT_INVALID("vcpus' number is 3", s.machine.initVcpus(3));
  EXPECT_INVALID("vcpus[0].runnable", s.vcpu(0).setRunnable(false));
  EXPECT_INVALID("vcpus[2].runnable", s.vcpu(2).setRunnable(true));
  EXPECT_INVALID("vcpus[3].apicId", s.vcpu(3).setApicId(1));
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
  EXPECT_INVALID(
      "cpuid[2].function is 4", auto entries = s.machine.initCpuid(3); for (auto entry
                                                                            : entries) {
        entry.setFunction(4);
        entry.setIndexed(true);
      } entries[1]
                                                                           .setIndex(1);
      entries[2].setIndex(1));
}

TEST(MachineCheck, Msrs) {
  EXPECT_INVALID("msrs' number is 257", s.machine.initMsrs(257));
  EXPECT_INVALID("msrs[0].index", s.machine.initMsrs(1)[0].setIndex(0));
  EXPECT_INVALID("msrs[0].index", s.machine.initMsrs(1)[0].setIndex(0xc0000080));  // EFER
  EXPECT_INVALID("msrs[1].index", auto msrs = s.machine.initMsrs(2); msrs[0].setIndex(0x1a0);
                 msrs[1].setIndex(0x1b));  // IA32_APIC_BASE
}

TEST(MachineCheck, CpuidAndMsrsAreTakenOver) {
  Sample sample;
  auto cpuid = sample.machine.initCpuid(2);
  for (unsigned i = 0; i < 2; ++i) {
    cpuid[i].setFunction(0x8000001d);
    cpuid[i].setIndexed(true);
    cpuid[i].setIndex(i);
  }
  auto msr = sample.machine.initMsrs(1)[0];
  msr.setIndex(0x2ff);
  msr.setValue(0xc06);
  const CheckedMachine machine = sample.check();
  ASSERT_EQ(machine.cpuid.size(), 2u);
  EXPECT_EQ(machine.cpuid[1].index, 1u);
  ASSERT_EQ(machine.msrs.size(), 1u);
  EXPECT_EQ(machine.msrs[0].value, 0xc06u);
}

}  // namespace
}  // namespace ktstr::vmm
