// Checks a PreparedMachine before anything is done with it. Shared by every VMM; no message is parsed
// anywhere else.
//
// The only machine a VMM runs is the machine model of rpc::MemoryKind; base and mailbox may be absent.
#pragma once

#include <linux/kvm.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/machine.capnp.h"

namespace ktstr::vmm {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kRamUnit = uint64_t{2} << 20;
constexpr uint64_t kLowEnd = uint64_t{2} << 30;     // where the linear space splits
constexpr uint64_t kHighStart = uint64_t{4} << 30;  // and goes on
constexpr uint64_t kMaxMemory = uint64_t{1} << 40;  // of all kinds together
constexpr uint32_t kMaxVcpus = 512;
constexpr unsigned kMaxCpuidEntries = 256;
constexpr unsigned kMaxHostCpus = 1024;  // CPU_SETSIZE

// What the VMM found out about a memory object it was given (vmm/guest_memory.h).
struct MemoryFacts {
  uint64_t size = 0;              // bytes
  std::optional<unsigned> seals;  // F_GET_SEALS; absent: not a memfd
  bool writable = false;          // the descriptor is open for writing
};

// By kind; those that are absent were not given.
struct GivenMemory {
  std::optional<MemoryFacts> ram, base, mailbox;
};

// Bytes [offset, offset + size) of a memory object are at guest-physical [gpa, gpa + size).
struct Region {
  uint64_t gpa, size, offset;
};

struct BootState {
  uint64_t rip, rsi, rsp, cr3, gdtGpa;
  uint16_t gdtLimit;
};

using CpuidEntry = kvm_cpuid_entry2;  // flags are KVM_CPUID_FLAG_SIGNIFCANT_INDEX or 0

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
  uint32_t llcs, coresPerLlc, threadsPerCore, vcpus;
  std::vector<Region> ram;              // one, or two with the split between them
  std::optional<Region> base, mailbox;  // offset 0
  std::vector<uint32_t> apicIds;        // one per vCPU, distinct, the first 0
  BootState boot;
  std::vector<std::vector<CpuidEntry>> cpuid;  // by vCPU, whole, no two alike
  std::vector<MsrEntry> msrs;                  // of those, and those bits, that a preparer may set
  Placement placement;

  uint64_t ramBytes() const { return ram.back().offset + ram.back().size; }
  uint32_t largestApicId() const { return *std::max_element(apicIds.begin(), apicIds.end()); }
  bool wideApicIds() const { return largestApicId() > 254; }  // beyond destinations of 8 bits; 255 is all
};

// Throws Error "machine-invalid" naming the field, its value and what it must be.
CheckedMachine checkMachine(rpc::PreparedMachine::Reader machine, const GivenMemory& memory);

}  // namespace ktstr::vmm
