// A machine ready to run: RAM filled with kernel, boot parameters, ACPI tables and page tables, all from
// descriptors.
//
// Guest-physical layout for RAM of M bytes (a multiple of 2 MiB):
//   RAM      [0, min(M, 2 GiB)) and, if M > 2 GiB, [4 GiB, 4 GiB + M - 2 GiB); the RAM descriptor is linear
//   over both base     directly after the end of RAM: the shared, compressed part of the initramfs; ordinary
//   RAM to the guest,
//            which keeps it unwritten because of retain_initrd
//   mailbox  directly after the base; reserved in e820
// The initrd is the last page of RAM (the suffix archive, NUL padded) and the base: contiguous. Base and
// mailbox therefore never straddle the hole at 2 GiB: where they would, M is raised to 2 GiB + 2 MiB.
//
// Low memory: boot_params 0x7000, command line 0x8000, page tables 0x9000 (identity map of 4 GiB), GDT
// 0xf000, scratch stack below 0x7000, ACPI tables from 0x40000.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "guest/boot/copy_helper.h"
#include "guest/boot/cpuid.h"
#include "guest/topology.h"
#include "protocol/fd.h"
#include "protocol/machine.capnp.h"

namespace ktstr {

struct BootRequest {
  Topology topology;
  uint64_t memoryBytes =
      0;              // rounded up to 2 MiB; at least 256 MiB; what the nodes have, if they are declared
  int kernelFd = -1;  // vmlinux ELF or bzImage; borrowed
  // Enter a bzImage through its own 64-bit entry, so that it decompresses and places itself (full KASLR,
  // slower). Otherwise its payload is extracted here: keep the extracted vmlinux and pass that.
  bool throughBzImage = false;
  std::string extraCommandLine;  // appended; later settings win in the kernel
  int baseFd = -1;          // the base file, a multiple of 64 KiB (image/initramfs.h makes it so); borrowed
  uint64_t baseLength = 0;  // its archive's true length, without the padding
  std::span<const std::byte> suffix;      // uncompressed newc archive, at most 4096 bytes
  std::span<const std::byte> orders;      // flat GuestOrders message for the mailbox
  size_t mailboxBytes = size_t{4} << 20;  // a multiple of 64 KiB
  // Rate of the guest's time stamp counter; nothing = that of the host's, measured, which is also the guest's
  // (under TCG without -icount and under KVM); 0 = let the kernel calibrate.
  std::optional<uint64_t> tscKilohertz;
  // What the VMM's KVM offers (VmmInfo.cpuid). Empty: the machine is for TCG, which makes its own and has an
  // HPET. Otherwise the machine gets a table by its topology, and the clock of kvm-clock instead of
  // tscKilohertz.
  std::vector<CpuidLeaf> kvmCpuid;
  bool realTimeHints = false;        // under KVM: tell the guest that its vCPUs are never preempted
  CopyHelper* copyHelper = nullptr;  // fills memory in three quarters of the time; borrowed; for one machine
};

// Guest-physical [gpa, gpa+size) is [offset, offset+size) of the descriptor that `kind` stands for.
struct Region {
  rpc::MemoryKind kind;
  uint64_t gpa;
  uint64_t size;
  uint64_t offset;
};

// [offset, offset + size) of the RAM descriptor belongs to a NUMA node of the guest.
struct NodeRam {
  uint32_t node;
  uint64_t offset, size;  // multiples of 2 MiB
};

struct PreparedRam {
  Topology topology;
  Fd ram;                  // memfd, unsealed
  Fd mailbox;              // memfd of mailboxBytes, header and orders written
  uint64_t ramBytes = 0;   // M, after rounding and raising
  uint64_t baseBytes = 0;  // size of the base region
  uint64_t mailboxBytes = 0;
  std::vector<NodeRam> nodeRam;
  uint64_t mailboxGpa = 0;
  uint64_t entry = 0;  // rip of the boot vCPU
  std::string commandLine;
  std::vector<CpuidLeaf> cpuid;  // empty for TCG

  // What boots it, once ram, base and mailbox are given to the VMM.
  void describe(rpc::PreparedMachine::Builder machine) const;

 private:
  void describeProcessor(rpc::PreparedMachine::Builder machine) const;
};

// Throws Error
//   "topology-invalid"      as checkTopology()
//   "memory-too-small"      below 256 MiB, or kernel and image do not fit; names what is needed
//   "kernel-image-..."      as cache/kernel_image.h: neither vmlinux nor bzImage, damaged, or for another
//   machine
//   "command-line-too-long" over 2047 bytes
//   "boot-request-invalid"  base, suffix or mailbox sizes out of the limits above, or memory that is not the
//                           declared nodes'
PreparedRam prepareMachine(const BootRequest& request);

}  // namespace ktstr
