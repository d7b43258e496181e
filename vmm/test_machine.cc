#include "vmm/test_machine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <span>

#include "protocol/file.h"
#include "vmm/machine_check.h"

extern "C" {
extern const std::byte ktstr_flat_guest[];
extern const std::byte ktstr_flat_guest_end[];
}

namespace ktstr::vmm {
namespace {

constexpr uint64_t kPml4 = kFlatPageTables, kGdt = 0xf000, kStack = 0x7000;

// Identity map of 4 GiB in 2 MiB pages: one PML4, one PDPT, four directories.
void putPageTables(std::byte* ram) {
  const auto put = [ram](uint64_t at, uint64_t value) { memcpy(ram + at, &value, sizeof value); };
  constexpr uint64_t present = 3, large = 0x80;
  put(kPml4, (kPml4 + 0x1000) | present);
  for (uint64_t i = 0; i < 4; ++i) {
    put(kPml4 + 0x1000 + i * 8, (kPml4 + 0x2000 + i * 0x1000) | present);
    for (uint64_t j = 0; j < 512; ++j) {
      put(kPml4 + 0x2000 + i * 0x1000 + j * 8, ((i << 30) + (j << 21)) | present | large);
    }
  }
}

Fd makeBase(std::string& path, uint64_t bytes) {
  const char* directory = getenv("TMPDIR");
  path = std::string(directory != nullptr ? directory : "/tmp") + "/ktstr-vmm-test-XXXXXX";
  const Fd writable(mkostemp(path.data(), O_CLOEXEC));
  for (uint64_t i = 0; i < bytes; i += 4) writeAll(writable.get(), std::string_view("BASE"));
  return openFile(path, O_RDONLY);
}

}  // namespace

TestMachine::TestMachine(uint64_t bytes, uint32_t cpus)
    : ramBytes(bytes),
      vcpus(cpus),
      lastApicId(cpus - 1),
      ram(makeMemfd("test-ram", ramBytes)),
      mailbox(makeMemfd("test-mailbox", mailboxBytes)),
      base(makeBase(basePath, baseBytes)) {
  const Mapping map(ram.get(), 0, ramBytes, PROT_READ | PROT_WRITE);
  putPageTables(map.data());
  const uint64_t gdt[] = {0, 0, 0x00af9a000000ffff, 0x00cf92000000ffff};
  memcpy(map.data() + kGdt, gdt, sizeof gdt);
  const std::span<const std::byte> code(ktstr_flat_guest, ktstr_flat_guest_end);
  memcpy(map.data() + kFlatEntry, code.data(), code.size());
  const uint64_t addresses[] = {baseGpa(), mailboxGpa()};
  memcpy(map.data() + kFlatBaseGpa, addresses, sizeof addresses);
}

TestMachine::~TestMachine() {
  unlink(basePath.c_str());
}

void TestMachine::describe(rpc::PreparedMachine::Builder machine) const {
  auto topology = machine.initTopology();
  topology.setLlcs(1);
  topology.setCoresPerLlc(vcpus);
  topology.setThreadsPerCore(1);
  auto all = machine.initVcpus(vcpus);
  for (unsigned i = 0; i < vcpus; ++i) all[i].setApicId(i);
  all[vcpus - 1].setApicId(lastApicId);
  auto vcpu = all[0];
  vcpu.setRunnable(true);
  vcpu.setRip(kFlatEntry);
  vcpu.setRsi(kFlatBootParams);
  vcpu.setRsp(kStack);
  vcpu.setCr3(kPml4);
  vcpu.setGdtGpa(kGdt);
  vcpu.setGdtLimit(0x1f);
}

}  // namespace ktstr::vmm
