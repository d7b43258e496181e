// What is in a BPF map. The guest changes it meanwhile: an entry may be half of one update and half of the
// next, a hash chain may lead into another (kernel/bpf/hashtab.c, arraymap.c).
#pragma once

#include <cstddef>
#include <map>
#include <memory>

#include "monitor/bpf_objects.h"
#include "monitor/btf_types.h"
#include "monitor/value.h"

namespace ktstr {

inline constexpr size_t maxMapBytes = size_t{32} << 20;  // that all that one call reads may cost

struct MapEntry {
  struct Value {
    std::optional<uint32_t> cpu;  // of a per-CPU map
    uint64_t address;
    std::vector<std::byte> bytes;
  };
  std::vector<std::byte> key;                 // an array's: its index, four bytes
  std::optional<ktstr::Value> owner;          // of local storage, instead of a key: local_storage.h
  std::vector<Value> values;                  // one, or one for each CPU whose value can be read
  std::map<uint64_t, std::string> functions;  // of struct_ops: programs by the addresses in the value
  // Bytes of memory that it takes, about: of a per-CPU map with small values they are few of it.
  size_t cost() const;
};

// The entries of an array, per-CPU array, (LRU) hash or (LRU) per-CPU hash; at most `limit`. Of an arena the
// pages that there are: the key is the page's number (four bytes), the value all of it. Of a ring buffer the
// records that wait to be consumed: the key is the position (eight bytes); one that is still written ends
// them. Of struct_ops the one value, as the kernel uses it. Of local storage the elements, by their owners.
// For other types the problem says that they cannot be read.
// `bytes`: that they may cost; what would cost more is left out, and the problem says so.
Walk<MapEntry> readMapEntries(const GuestKernel& kernel, const KernelLayout& layout, const BpfMap& map,
                              size_t limit, size_t bytes = maxMapBytes);

// The address that the program's own pointers have of the first page of an arena.
std::optional<uint64_t> arenaStart(const GuestKernel& kernel, const KernelLayout& layout, const BpfMap& map);

// Positions of a ring buffer, in bytes that were ever written (kernel/bpf/ringbuf.c). Nothing if they make no
// sense.
struct RingBuffer {
  uint64_t address, bytes;  // of struct bpf_ringbuf; of its data
  uint64_t consumer, producer;
  uint64_t first;  // of the records that can still be read: the consumer's, or behind what was overwritten
};
std::optional<RingBuffer> readRingBuffer(const GuestKernel& kernel, const KernelLayout& layout,
                                         const BpfMap& map);

// Address of an array's element, if it has one of this index.
std::optional<uint64_t> arrayElement(const KernelLayout& layout, const BpfMap& map, uint32_t index);

// The types of the program that made a map, as the kernel's struct btf at `address` has them: BTF, or why
// there is none.
struct ProgramTypesCopy {
  std::vector<std::byte> bytes;
  std::string problem;
};
ProgramTypesCopy copyProgramTypes(const GuestKernel& kernel, const KernelLayout& layout, uint64_t address);

// The types of the program that made a map, from the kernel's struct btf at `address`. Nothing, and why, if
// there are none, or they depend on a module's.
struct ProgramTypes {
  std::unique_ptr<BtfTypes> types;
  std::string problem;
};
ProgramTypes parseProgramTypes(const ProgramTypesCopy& copy);
ProgramTypes readProgramTypes(const GuestKernel& kernel, const KernelLayout& layout, uint64_t address);

}  // namespace ktstr
