// ELF vmcores of x86-64 guests: what kdump, QEMU's dump-guest-memory and we ourselves write, and what crash
// and drgn open. ELF64 ET_CORE (System V gABI, "Program Header"); notes as the kernel's own crash path makes
// them (kernel/crash_core.c, include/linux/elfcore.h): NT_PRSTATUS of each CPU under "CORE", VMCOREINFO under
// its name.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "monitor/ram_file.h"

namespace ktstr {

// What a core says of one CPU. A VMM tells an observer no more than rip; the other registers of its
// NT_PRSTATUS are 0, and so is rip where the engine cannot tell.
struct VmcoreCpu {
  int32_t pid = 0;  // of the task on it; 0: the idle task, or not known
  uint64_t rip = 0;
};

struct VmcoreContents {
  std::vector<RamRange> ranges;  // all of RAM; whole pages
  uint64_t pageOffset = 0;       // p_vaddr of GPA 0: base of the kernel's direct map
  // The kernel image, at the addresses that it is linked for: a PT_LOAD of its own over the same bytes, as
  // kdump makes it. drgn finds the page tables through it. Left out if it lies in none of the ranges.
  uint64_t imageVa = 0, imageGpa = 0, imageSize = 0;
  std::string vmcoreinfo;       // the text, as the kernel has it
  std::vector<VmcoreCpu> cpus;  // in the order of their numbers
};

// How a core is laid out in its file.
struct VmcorePlan {
  std::vector<std::byte> head;   // headers and notes, padded to whole pages
  std::vector<uint64_t> places;  // in the file, of each of the ranges
  uint64_t size = 0;             // of the whole file
};
VmcorePlan planVmcore(const VmcoreContents& contents);

// Headers that need more than that are refused.
inline constexpr size_t maxVmcoreHead = 1 << 20;

// RAM in a core's file. `head` is its first maxVmcoreHead bytes, or all of it. A PT_LOAD that lies inside
// another one (kdump's, of the kernel image) adds nothing and is left out; the part of one that is not in the
// file (p_filesz below p_memsz) is no RAM. Throws Error "core-invalid": no ELF64 core of x86-64, headers
// beyond `head`, a PT_LOAD beyond the end of the file, two that overlap, none at all.
std::vector<RamRange> vmcoreRanges(std::span<const std::byte> head, uint64_t fileBytes);
std::vector<RamRange> vmcoreRanges(int fd);

}  // namespace ktstr
