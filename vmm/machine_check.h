// Checks a PreparedMachine before anything is done with it. Shared by every VMM; no message is parsed
// anywhere else.
//
// The only machine a VMM runs is the machine model: RAM bytes 0.. of the linear space, then the initramfs
// base, then the mailbox (the last two may be absent). Linear address L is guest-physical L below 2 GiB and L
// + 2 GiB from there on; only RAM may cross that split, as two regions of one memory object.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "protocol/machine.capnp.h"

namespace ktstr::vmm {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kRamUnit = uint64_t{2} << 20;
constexpr uint64_t kLowEnd = uint64_t{2} << 30;     // where the linear space splits
constexpr uint64_t kHighStart = uint64_t{4} << 30;  // and goes on
constexpr uint64_t kMaxMemory = uint64_t{1} << 40;  // of all regions together
constexpr uint32_t kMaxVcpus = 512;
constexpr unsigned kMaxRegions = 8;
constexpr unsigned kMaxCpuidEntries = 256;
constexpr unsigned kMaxMsrs = 256;
constexpr unsigned kMaxName = 64;
constexpr unsigned kMaxHostCpus = 1024;  // CPU_SETSIZE

// What the VMM found out about an imported memory object (vmm/guest_memory.h).
struct MemoryFacts {
  uint64_t size = 0;              // bytes
  std::optional<unsigned> seals;  // F_GET_SEALS; absent: not a memfd
  bool writable = false;          // the descriptor is open for writing
};

struct CheckedRegion {
  rpc::RegionKind kind;
  uint64_t gpa, size, offset;
  size_t memory;  // index into the memories given to checkMachine()
};

struct BootState {
  uint64_t rip, rsi, rsp, cr3, gdtGpa;
  uint16_t gdtLimit;
};

// As rpc::CpuidEntry.
struct CpuidEntry {
  uint32_t function, index;
  bool indexed;
  uint32_t eax, ebx, ecx, edx;
};

struct MsrEntry {
  uint32_t index;
  uint64_t value;
};

// As rpc::Placement.
struct Placement {
  std::vector<uint16_t> cpus;  // none, or one per vCPU, each below kMaxHostCpus
  uint8_t priority;
  bool keepIdle;
  std::optional<uint32_t> haltPollNanos;
};

// A machine all of whose numbers are good.
struct CheckedMachine {
  std::string name;
  uint32_t llcs, coresPerLlc, threadsPerCore, vcpus;
  std::vector<CheckedRegion> regions;  // ram (one or two), then base, then mailbox
  std::vector<uint32_t> apicIds;       // one per vCPU, distinct
  BootState boot;
  std::vector<CpuidEntry> cpuid;  // no two alike
  std::vector<MsrEntry> msrs;     // of those that a preparer may set
  Placement placement;

  uint64_t ramBytes() const;
  const CheckedRegion* find(rpc::RegionKind kind) const;  // the first of that kind, or null
};

// `memoryOfRegion[i]` is the index in `memories` of what regions[i] refers to. Throws Error "machine-invalid"
// naming the field, its value and what it must be.
CheckedMachine checkMachine(rpc::PreparedMachine::Reader machine, std::span<const size_t> memoryOfRegion,
                            std::span<const MemoryFacts> memories);

}  // namespace ktstr::vmm
