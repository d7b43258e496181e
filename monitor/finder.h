// Finds a Linux kernel in guest RAM, with KASLR on and without any help from the guest.
#pragma once

#include <string>
#include <vector>

#include "monitor/analysis.h"
#include "monitor/page_walk.h"
#include "monitor/ram_file.h"
#include "monitor/vmcoreinfo.h"

namespace ktstr {

// Where one boot of a kernel is.
struct KernelPlace {
  uint64_t slide = 0;     // run-time address - link address
  uint64_t physBase = 0;  // modulo 2^64: GPA of an image address = va - kernelMapBase + physBase
  PageTables tables;
  uint64_t imageBytes = uint64_t{1} << 30;  // KERNEL_IMAGE_SIZE: the image map is that long

  // GPA of an address in the kernel image; nothing if va is not in the image map.
  std::optional<uint64_t> imageGpa(uint64_t va) const;
};

struct FoundKernel {
  std::optional<KernelPlace> place;
  std::optional<Vmcoreinfo> info;
  std::string problem;  // why there is no place
};

// Looks through all RAM for VMCOREINFO, as the kernel keeps it at the beginning of a page and, as an ELF
// note, 24 bytes into another. Old copies are possible, so a hit counts only if the page tables it names map
// _stext where it says that _stext is. Works from subsys_initcall on (crash_save_vmcoreinfo_init).
FoundKernel findByVmcoreinfo(const RamFile& ram);

// Looks for the banner of a known kernel at every 2 MiB step that its text can begin at
// (CONFIG_PHYSICAL_ALIGN), then takes the virtual slide from the variable phys_base. Works from the first
// instructions of the kernel proper on.
FoundKernel findByBanner(const RamFile& ram, const Analysis& analysis);

// The kernel's page tables at GPA `root`, with the number of levels under which va maps to gpa; nothing if
// neither does.
std::optional<PageTables> probePageTables(const GuestMem& memory, uint64_t root, uint64_t va, uint64_t gpa);

}  // namespace ktstr
