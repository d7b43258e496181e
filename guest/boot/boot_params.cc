#include "guest/boot/boot_params.h"

#include <asm/bootparam.h>

#include <algorithm>
#include <cassert>
#include <cstring>

namespace ktstr {

namespace {

constexpr size_t setupHeaderOffset = 0x1f1;
constexpr uint32_t headerMagic = 0x53726448;  // "HdrS"
constexpr uint8_t unknownLoader = 0xff;

static_assert(offsetof(boot_params, acpi_rsdp_addr) == 0x70);
static_assert(offsetof(boot_params, hdr) == setupHeaderOffset);
static_assert(offsetof(boot_params, e820_table) == 0x2d0);
static_assert(sizeof(boot_params) == 4096);

// What a kernel entered at its own startup_64 still reads of the header.
setup_header minimalHeader() {
  setup_header header{};
  header.boot_flag = 0xaa55;
  header.header = headerMagic;
  header.version = 0x020f;
  header.kernel_alignment = 0x200000;
  header.cmdline_size = commandLineMax;
  return header;
}

}  // namespace

std::vector<std::byte> buildBootParams(const BootParams& params) {
  boot_params page{};
  page.hdr = minimalHeader();
  if (!params.setupHeader.empty()) {
    std::memcpy(&page.hdr, params.setupHeader.data(), std::min(params.setupHeader.size(), sizeof page.hdr));
  }
  page.hdr.type_of_loader = unknownLoader;
  const unsigned kaslr = params.randomizeMemory ? KASLR_FLAG : 0;
  page.hdr.loadflags = static_cast<uint8_t>(page.hdr.loadflags | LOADED_HIGH | kaslr);
  page.hdr.cmd_line_ptr = commandLineGpa;
  page.hdr.ramdisk_image = static_cast<uint32_t>(params.initrd.gpa);
  page.ext_ramdisk_image = static_cast<uint32_t>(params.initrd.gpa >> 32);
  page.hdr.ramdisk_size = static_cast<uint32_t>(params.initrd.size);
  page.ext_ramdisk_size = static_cast<uint32_t>(params.initrd.size >> 32);
  page.acpi_rsdp_addr = params.rsdpGpa;
  assert(params.e820.size() <= E820_MAX_ENTRIES_ZEROPAGE);
  page.e820_entries = static_cast<uint8_t>(params.e820.size());
  for (size_t i = 0; i < params.e820.size(); i++) {
    const E820Entry& entry = params.e820[i];
    page.e820_table[i] = {entry.range.gpa, entry.range.size, static_cast<uint32_t>(entry.type)};
  }
  std::vector<std::byte> bytes(sizeof page);
  std::memcpy(bytes.data(), &page, sizeof page);
  return bytes;
}

}  // namespace ktstr
