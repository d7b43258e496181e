// BPF maps and programs, found as the kernel itself finds them: through map_idr and prog_idr
// (kernel/bpf/syscall.c). All names are made harmless: printable ASCII, '?' for anything else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"
#include "monitor/walk.h"

namespace ktstr {

inline constexpr size_t maxBpfObjects = 65536;
inline constexpr size_t maxRunStats = size_t{1}
                                      << 20;  // that programs() reads, of one program on one CPU each
// What the build machine's linux/bpf.h may lack.
inline constexpr uint32_t cgroupStorageMapType = 32;  // BPF_MAP_TYPE_CGRP_STORAGE, since Linux 6.2
inline constexpr uint32_t arenaMapType = 33;          // BPF_MAP_TYPE_ARENA, since Linux 6.9

struct BpfMap {
  uint64_t address = 0;  // of struct bpf_map
  uint32_t id = 0;
  std::string name;                                     // the kernel keeps 15 characters
  uint32_t type = 0;                                    // enum bpf_map_type
  uint32_t keySize = 0, valueSize = 0, maxEntries = 0;  // bytes, bytes, entries
  uint32_t flags = 0;                                   // BPF_F_*
  bool frozen = false;                                  // no longer writable from user space
  uint64_t btf = 0;                                     // address of struct btf; 0: none
  uint32_t keyType = 0, valueType = 0;                  // ids in it; 0: none. Of struct_ops: in the kernel's
  bool isRingBuffer() const;                            // for user space to read, or to write
};

struct BpfProgram {
  uint64_t address = 0;  // of struct bpf_prog
  uint32_t id = 0;
  std::string name;   // all of it, if the kernel has a symbol for the program; else 15 characters
  uint32_t type = 0;  // enum bpf_prog_type
  std::optional<uint32_t> verifiedInstructions;
  // Over all CPUs. Runs and their time are counted while kernel.bpf_stats_enabled is 1; misses always.
  std::optional<uint64_t> runs, runNanos, misses;
};

// "hash", "struct_ops", "type 99".
std::string mapTypeName(uint32_t type);
std::string programTypeName(uint32_t type);

class BpfObjects {
 public:
  // Both must outlive this object.
  BpfObjects(const GuestKernel& kernel, const KernelLayout& layout) : kernel_(kernel), layout_(layout) {}

  // In ascending id. What is being made or freed at the moment may be missing.
  Walk<BpfMap> maps() const;
  Walk<BpfProgram> programs() const;
  // The struct bpf_map at an address; nothing if it cannot be read. Its id is 0 once it is being freed.
  std::optional<BpfMap> map(uint64_t address) const;
  // Addresses of the maps that the struct bpf_prog at an address uses, at most 256.
  std::vector<uint64_t> usedMaps(uint64_t program) const;
  // Of the arena of the first program that uses a map; nothing if there is none.
  std::optional<uint64_t> arenaBeside(const BpfMap& map) const;
  // The struct bpf_prog at an address, without its runs; nothing if it cannot be read.
  std::optional<BpfProgram> program(uint64_t address) const;

 private:
  std::string programName(uint64_t aux) const;
  void addRunStats(const std::vector<uint32_t>& cpus, BpfProgram& program) const;
  Walk<uint64_t> walk(const char* idr) const;
  template <typename T>
  std::optional<T> field(uint64_t address, const char* name) const;
  std::string nameAt(uint64_t address, const char* member) const;

  const GuestKernel& kernel_;
  const KernelLayout& layout_;
};

// The maps that `wanted` means: "#12" the one with this id; else those of that name; if there are none, those
// whose name ends with it (".bss").
std::vector<BpfMap> matchMaps(const std::vector<BpfMap>& maps, std::string_view wanted);

// Likewise of programs.
std::vector<BpfProgram> matchPrograms(const std::vector<BpfProgram>& programs, std::string_view wanted);

// Exactly one. Throws Error "map-unknown" or "map-ambiguous" (usage) that name what there is.
BpfMap findMap(const std::vector<BpfMap>& maps, std::string_view wanted);

}  // namespace ktstr
