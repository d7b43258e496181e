#include "guest/boot/machine.h"

#include <capnp/message.h>
#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/boot/kernel_loader.h"
#include "guest/boot/memory_plan.h"
#include "guest/boot/test_bytes.h"
#include "guest/boot/test_cpuid.h"
#include "guest/boot/tsc.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/mailbox.h"
#include "protocol/sparse.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

template <typename Value>
std::span<const std::byte> bytesOf(const Value& value) {
  return std::as_bytes(std::span(&value, 1));
}

// A vmlinux of one segment at 16 MiB: a page that begins with "kernel", a page of zeros, a page that ends in
// "end", and 1 MiB of .bss.
Fd makeKernel(uint16_t machine = EM_X86_64, uint64_t paddr = 16 * mib) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = machine;
  header.e_version = EV_CURRENT;
  header.e_entry = paddr + 0x10;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_offset = 4096;
  segment.p_paddr = paddr;
  segment.p_vaddr = 0xffffffff81000000;
  segment.p_filesz = 3 * 4096;
  segment.p_memsz = segment.p_filesz + mib;
  segment.p_align = 4096;
  std::string file(4 * 4096, '\0');
  std::memcpy(file.data(), &header, sizeof header);
  std::memcpy(file.data() + sizeof header, &segment, sizeof segment);
  file.replace(4096, 6, "kernel");
  file.replace(4 * 4096 - 3, 3, "end");
  Fd fd = makeMemfd("kernel", 0);
  writeSparse(fd.get(), 0, std::as_bytes(std::span(file)));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(file.size())), 0);
  return fd;
}

class Machine : public testing::Test {
 protected:
  Machine() : kernel_(makeKernel()), base_(makeMemfd("base", 64 * kib)) {
    request_.topology = parseTopology("1n2l2c2t");
    request_.memoryBytes = 256 * mib;
    request_.kernelFd = kernel_.get();
    request_.baseFd = base_.get();
    request_.baseLength = 1000;
    request_.suffix = std::as_bytes(std::span(suffix_));
    request_.orders = std::as_bytes(std::span(orders_));
    request_.mailboxBytes = mib;
  }

  std::string errorName() {
    try {
      prepareMachine(request_);
    } catch (const Error& error) {
      return error.name();
    }
    return "none";
  }

  Fd kernel_, base_;
  std::string suffix_ = "070701...";
  std::string orders_ = "orders!!";
  BootRequest request_;
};

TEST_F(Machine, hasEverythingInItsPlace) {
  const PreparedRam machine = prepareMachine(request_);
  const Mapping ram(machine.ram.get(), 0, machine.ramBytes, PROT_READ);
  EXPECT_EQ(textAt(ram.bytes(), 16 * mib, 6), "kernel");
  EXPECT_EQ(textAt(ram.bytes(), 16 * mib + 3 * 4096 - 3, 3), "end");
  EXPECT_EQ(textAt(ram.bytes(), machine.ramBytes - 4096, suffix_.size()), suffix_);
  EXPECT_EQ(textAt(ram.bytes(), bootParamsGpa + 0x202, 4), "HdrS");
  EXPECT_EQ(textAt(ram.bytes(), commandLineGpa, machine.commandLine.size()), machine.commandLine);
  EXPECT_EQ(numberAt<uint64_t>(ram.bytes(), pageTablesGpa), pageTablesGpa + 0x1000 + 3);
  EXPECT_EQ(numberAt<uint64_t>(ram.bytes(), gdtGpa), 0u);
  const auto rsdp = numberAt<uint64_t>(ram.bytes(), bootParamsGpa + 0x70);
  EXPECT_EQ(textAt(ram.bytes(), rsdp, 8), "RSD PTR ");

  const Mapping mailbox(machine.mailbox.get(), 0, machine.mailboxBytes, PROT_READ | PROT_WRITE);
  const std::vector<std::byte> orders = GuestMailbox(mailbox.bytes()).orders();
  EXPECT_EQ(textAt(orders, 0, orders.size()), orders_);
}

TEST_F(Machine, isTheSameWithAHelper) {
  const PreparedRam alone = prepareMachine(request_);
  CopyHelper helper;
  request_.copyHelper = &helper;
  const PreparedRam helped = prepareMachine(request_);
  const Mapping a(alone.ram.get(), 16 * mib, 4 * mib, PROT_READ),
      b(helped.ram.get(), 16 * mib, 4 * mib, PROT_READ);
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size()), 0);
  EXPECT_EQ(textAt(b.bytes(), 0, 6), "kernel");
}

TEST_F(Machine, leavesPagesOfZerosUnwritten) {
  const PreparedRam machine = prepareMachine(request_);
  const auto holeAfter = [&](uint64_t at) {
    return static_cast<uint64_t>(lseek(machine.ram.get(), static_cast<off_t>(at), SEEK_HOLE));
  };
  EXPECT_EQ(holeAfter(16 * mib), 16 * mib + 4096);
  EXPECT_EQ(holeAfter(16 * mib + 2 * 4096), 16 * mib + 3 * 4096);
}

TEST_F(Machine, commandLineTellsMailboxAndRate) {
  request_.extraCommandLine = "nokaslr foo=1";
  const PreparedRam machine = prepareMachine(request_);
  EXPECT_THAT(machine.commandLine, HasSubstr(" ktstr.mailbox=0x10010000,0x100000"));
  EXPECT_EQ(machine.mailboxGpa, 0x10010000u);
  EXPECT_THAT(machine.commandLine, HasSubstr(" retain_initrd rdinit=/init "));
  EXPECT_THAT(machine.commandLine, testing::MatchesRegex(".* lpj=[1-9][0-9]+ .*"));
  EXPECT_THAT(machine.commandLine, testing::EndsWith(" nokaslr foo=1"));
  const Mapping low(machine.ram.get(), 0, mib, PROT_READ);
  EXPECT_EQ(numberAt<uint8_t>(low.bytes(), bootParamsGpa + 0x211), 1);  // KASLR_FLAG clear

  request_.tscKilohertz = 0;
  EXPECT_THAT(prepareMachine(request_).commandLine,
              testing::Not(testing::AnyOf(HasSubstr("lpj"), HasSubstr("tsc"))));
  request_.tscKilohertz = 2596128;
  EXPECT_THAT(prepareMachine(request_).commandLine,
              HasSubstr(" lpj=10384512 tsc_early_khz=2596128 tsc=reliable "));
}

// PCAT_COMPAT of the MADT in a machine's RAM: are there 8259s?
bool hasOldInterruptControllers(const PreparedRam& machine) {
  const Mapping ram(machine.ram.get(), acpiGpa, acpiEnd - acpiGpa, PROT_READ);
  const std::string_view tables(reinterpret_cast<const char*>(ram.data()), ram.size());
  const size_t madt = tables.find("APIC");
  EXPECT_NE(madt, std::string_view::npos);
  return (tables.at(madt + 40) & 1) != 0;
}

TEST_F(Machine, onKvmEachVcpuHasLeavesOfItsOwn) {
  request_.topology = parseTopology("1n2l2c2t");
  request_.kvmCpuid = newIntel();
  const PreparedRam prepared = prepareMachine(request_);
  EXPECT_TRUE(hasOldInterruptControllers(prepared));
  capnp::MallocMessageBuilder message;
  auto machine = message.initRoot<rpc::PreparedMachine>();
  prepared.describe(machine);
  EXPECT_GT(machine.getCpuid().size(), 5u);
  for (auto leaf : machine.getCpuid()) EXPECT_FALSE(tellsVcpu(leaf.getFunction()));
  for (unsigned i = 0; i < 8; i++) {
    bool told = false;
    for (auto leaf : machine.getVcpus()[i].getCpuid()) {
      EXPECT_TRUE(tellsVcpu(leaf.getFunction()));
      if (leaf.getFunction() != 1) continue;
      told = true;
      EXPECT_EQ(leaf.getEbx() >> 24, machine.getVcpus()[i].getApicId());
    }
    EXPECT_TRUE(told) << i;
    EXPECT_EQ(machine.getCpuid().size() + machine.getVcpus()[i].getCpuid().size(), prepared.cpuid.size());
  }
}

TEST_F(Machine, onKvmLargeApicIdsGoWithoutOldInterruptControllers) {
  request_.memoryBytes = 512 * mib;
  request_.topology = parseTopology("1n5l5c5t");
  EXPECT_TRUE(hasOldInterruptControllers(prepareMachine(request_))) << "QEMU has them all the same";
  request_.kvmCpuid = newIntel();
  EXPECT_FALSE(hasOldInterruptControllers(prepareMachine(request_)));
  request_.topology = parseTopology("1n5l5c4t");  // up to 147
  EXPECT_TRUE(hasOldInterruptControllers(prepareMachine(request_)));
}

TEST_F(Machine, isDescribedForAVmm) {
  request_.memoryBytes = 3 * gib;
  const PreparedRam prepared = prepareMachine(request_);
  capnp::MallocMessageBuilder message;
  auto machine = message.initRoot<rpc::PreparedMachine>();
  prepared.describe(machine);
  EXPECT_EQ(machine.getTopology().getLlcs(), 2u);
  ASSERT_EQ(machine.getVcpus().size(), 8u);
  auto boot = machine.getVcpus()[0];
  EXPECT_TRUE(boot.getRunnable());
  EXPECT_EQ(boot.getRip(), 16 * mib + 0x10);
  EXPECT_EQ(boot.getRsi(), 0x7000u);
  EXPECT_EQ(boot.getCr3(), 0x9000u);
  EXPECT_EQ(boot.getGdtGpa(), 0xf000u);
  EXPECT_EQ(boot.getGdtLimit(), 31);
  EXPECT_FALSE(machine.getVcpus()[7].getRunnable());
  EXPECT_EQ(machine.getVcpus()[7].getApicId(), 7u);
}

TEST_F(Machine, refusesRequestsByName) {
  const BootRequest good = request_;
  const auto with = [&](auto change) {
    request_ = good;
    change();
    return errorName();
  };
  EXPECT_EQ(with([&] { request_.topology.llcs = 0; }), "topology-invalid");
  EXPECT_EQ(with([&] { request_.memoryBytes = 255 * mib; }), "memory-too-small");
  EXPECT_EQ(with([&] { request_.topology = {1, 512, 1, 1}; }), "memory-too-small");
  EXPECT_EQ(with([&] { request_.topology = parseTopology("1l512M,0l2M,1c1t"); }), "boot-request-invalid");
  EXPECT_EQ(with([&] { request_.extraCommandLine = std::string(2048, 'x'); }), "command-line-too-long");
  EXPECT_EQ(with([&] { request_.throughBzImage = true; }), "kernel-image-invalid");
  const std::string large(4097, 'x');
  EXPECT_EQ(with([&] { request_.suffix = std::as_bytes(std::span(large)); }), "boot-request-invalid");
  const Fd arm = makeKernel(EM_AARCH64);
  EXPECT_EQ(with([&] { request_.kernelFd = arm.get(); }), "kernel-wrong-architecture");
  const Fd low = makeKernel(EM_X86_64, 0x8000);
  EXPECT_EQ(with([&] { request_.kernelFd = low.get(); }), "kernel-image-invalid");
}

TEST_F(Machine, tooLittleMemoryNamesTheNeed) {
  const Fd large = makeMemfd("base", 64 * mib);
  request_.baseFd = large.get();
  request_.baseLength = 64 * mib;
  try {
    prepareMachine(request_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "memory-too-small");
    EXPECT_THAT(error.message(), HasSubstr("256 MiB of guest memory; at least 410 MiB"));
  }
}

TEST(Tsc, givesLoopsPerJiffy) {
  EXPECT_EQ(loopsPerJiffy(2596128), 10384512u);
  const uint64_t kilohertz = TscMeter().kilohertz();
  EXPECT_EQ(kilohertz % 1000, 0u);
  EXPECT_GT(kilohertz, 100'000u);
  EXPECT_LT(kilohertz, 20'000'000u);
}

}  // namespace
}  // namespace ktstr
