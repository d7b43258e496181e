// The CPUID table of a machine under KVM: what KVM_GET_SUPPORTED_CPUID offered on the host, with the declared
// topology in place of the host's. Pure functions; Intel, AMD and Hygon hosts.
//
// The APIC ids are Topology::apicId()'s: thread in the lowest bits, then core, then LLC. One package per LLC.
//
// APIC ids in the table are those of vCPU 0, which are zero. vcpuCpuid() gives the leaves that tell a vCPU
// from others as the one with x2APIC id A (VcpuState.apicId) sees them. With
//   c = EAX[4:0] of function 0xB, index 0: bits of A below the core's number
//   p = EAX[4:0] of function 0xB, index 1: bits of A below the package's number
// these fields change, in every entry of a function whatever its index, and no others:
//   0x1         EBX[31:24] = A & 0xff
//   0xB         EDX        = A             (the terminating subleaf too)
//   0x1F        EDX        = A             (as 0xB; only in some tables of Intel hosts)
//   0x8000001E  EAX        = A             (only in tables of AMD hosts, as are the next two)
//               EBX[7:0]   = ((A & ((1 << p) - 1)) >> c) & 0xff    the core's number in its package
//               ECX[7:0]   = (A >> p) & 0xff                       the node's: each package is one
//   0x80000026  EDX        = A             (as 0xB; only in some tables of AMD hosts)
// Function 0xB with indices 0, 1 and 2 is in every table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "guest/topology.h"

namespace ktstr {

// One CPUID leaf as KVM takes it (struct kvm_cpuid_entry2).
struct CpuidLeaf {
  uint32_t function = 0, index = 0;
  bool indexed = false;  // KVM_CPUID_FLAG_SIGNIFCANT_INDEX: matches only with ECX = index
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;

  bool operator==(const CpuidLeaf&) const = default;
};

inline constexpr size_t maxCpuidLeaves = 256;  // KVM_MAX_CPUID_ENTRIES

// The table, sorted by function and index, no pair of them twice. Features are as `supported`, except
//   set      hypervisor; on AMD TOPOEXT, with which Linux believes leaves 0x8000001D and 0x8000001E
//   cleared  VMX and SVM (and leaf 0x8000000A): machines do not nest
//   by the topology  HTT and, on AMD, CmpLegacy
// Cache sizes are the host's where it tells them; on AMD leaf 0x80000006 no longer names an L3, as Linux
// would take LLCs from it on some CPUs. KVM's own leaves from 0x40000000 on are kept: without kvm-clock the
// guest would have to calibrate its time stamp counter. In 0x40000001 (Documentation/virt/kvm/x86/cpuid.rst)
//   KVM_HINTS_REALTIME           as `realTimeHints`: vCPUs are never preempted for long
//   KVM_FEATURE_PV_UNHALT        cleared: a vCPU that waits for a lock spins, as on hardware, and does not
//   look idle KVM_FEATURE_MSI_EXT_DEST_ID  set with an APIC id above 254: without it Linux leaves out the
//   CPUs beyond. So is, in leaf 1, TSC-Deadline: such a machine has no 8254 to calibrate the APIC timer by.
//
// Throws Error
//   "topology-invalid"  as checkTopology()
//   "cpuid-invalid"     (ExitCode::infrastructure) `supported` lacks a leaf that every x86-64 host has, is of
//                       another vendor, or makes more than maxCpuidLeaves; or has no 0x40000001 for hints
std::vector<CpuidLeaf> machineCpuid(const Topology& topology, std::span<const CpuidLeaf> supported,
                                    bool realTimeHints = false);

// Whether leaves of this function differ between vCPUs.
bool tellsVcpu(uint32_t function);

// Of a table of machineCpuid(), the leaves of those functions, as the vCPU of that APIC id sees them.
std::vector<CpuidLeaf> vcpuCpuid(std::span<const CpuidLeaf> machine, uint32_t apicId);

}  // namespace ktstr
