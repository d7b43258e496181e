#include "orchestrator/huge_memory.h"

#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/sparse.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr unsigned kMaxNodes = 1024;

uint64_t poolNumber(const char* name) {
  const auto number = readFileIfThere(std::string("/sys/kernel/mm/hugepages/hugepages-2048kB/") + name);
  return number ? strtoull(number->c_str(), nullptr, 10) : 0;
}

// In a sandbox: nothing can be looked up any more. `pool` is the directory of the pool that is too small.
Error tooFew(uint64_t bytes, const std::string& because, const std::string& pool = "/sys/kernel/mm") {
  const uint64_t pages = bytes / hugePageBytes;
  return {ExitCode::usage, "hugepages-too-few",
          text("guest RAM needs ", pages, " huge pages of 2 MiB", because),
          text("as root, raise ", pool, "/hugepages/hugepages-2048kB/nr_hugepages so that ", pages,
               " are free, or run without performance mode")};
}

Fd makeHugeMemfd(uint64_t size) {
  Fd fd(memfd_create("ktstr-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB));
  if (!fd) throw tooFew(size, text("; this kernel makes none: ", strerror(errno)));
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0)
    throw errnoError("memfd-failed", "size the guest's RAM");
  return fd;
}

void bind(std::byte* begin, const NodeMemory& memory) {
  unsigned long mask[kMaxNodes / (8 * sizeof(long))] = {};
  constexpr unsigned bits = 8 * sizeof(long);
  if (memory.node < kMaxNodes) mask[memory.node / bits] = 1ul << memory.node % bits;
  if (syscall(SYS_mbind, begin, memory.size, MPOL_BIND, mask, kMaxNodes, 0) != 0) {
    throw errnoError(
        "memory-not-bound", text("bind guest RAM to NUMA node ", memory.node),
        "let this process use that node's memory (cpuset.mems), or run without performance mode");
  }
}

void populate(std::byte* begin, const NodeMemory& memory) {
  if (madvise(begin, memory.size, MADV_POPULATE_WRITE) == 0) return;
  throw tooFew(memory.size, text(" on NUMA node ", memory.node, ", which has not that many"),
               text("/sys/devices/system/node/node", memory.node));
}

void checkNode(std::byte* page, uint32_t wanted) {
  int node = -1;
  if (syscall(SYS_get_mempolicy, &node, nullptr, 0, page, MPOL_F_NODE | MPOL_F_ADDR) != 0) {
    throw errnoError("memory-not-bound", "ask on which NUMA node guest RAM is");
  }
  if (node != static_cast<int>(wanted)) {
    throw Error(ExitCode::infrastructure, "memory-not-bound",
                text("guest RAM is on NUMA node ", node, ", not ", wanted, " to which it was bound"));
  }
}

}  // namespace

uint64_t freeHugePages() {
  return poolNumber("free_hugepages");
}

void checkHugePages(uint64_t bytes) {
  const uint64_t free = freeHugePages(), needed = (bytes + hugePageBytes - 1) / hugePageBytes;
  if (free >= needed) return;
  throw Error(
      ExitCode::usage, "hugepages-too-few",
      text("guest RAM needs ", needed, " huge pages of 2 MiB; ", free, " are free"),
      text("as root: echo ", poolNumber("nr_hugepages") + needed - free,
           " > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages (soon after boot, while memory is "
           "whole), or run without performance mode"));
}

Fd moveToHugePages(int ram, const std::vector<NodeMemory>& placement) {
  const uint64_t size = fileSize(ram);
  Fd huge = makeHugeMemfd(size);
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, huge.get(), 0);
  if (address == MAP_FAILED) throw tooFew(size, text(": ", strerror(errno)));  // a mapping reserves its pages
  auto* begin = static_cast<std::byte*>(address);
  const auto unmap = [&] { munmap(address, size); };
  try {
    for (const NodeMemory& memory : placement) bind(begin + memory.offset, memory);
    for (const NodeMemory& memory : placement) populate(begin + memory.offset, memory);
    readSparse(ram, 0, {begin, size});
    for (const NodeMemory& memory : placement) {
      checkNode(begin + memory.offset, memory.node);
      checkNode(begin + memory.offset + memory.size - 1, memory.node);
    }
  } catch (...) {
    unmap();
    throw;
  }
  unmap();
  return huge;
}

}  // namespace ktstr
