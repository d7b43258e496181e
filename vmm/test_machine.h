// For tests: a machine with the flat guest of vmm/flat/guest.S in it.
#pragma once

#include <cstdint>
#include <string>

#include "protocol/fd.h"
#include "protocol/machine.capnp.h"

namespace ktstr::vmm {

// Guest-physical addresses of what the guest and its host share, in RAM.
constexpr uint64_t kFlatEntry = 0x100000, kFlatBaseGpa = 0x6000, kFlatMailboxGpa = 0x6008,
                   kFlatCounter = 0x6010, kFlatStarts = 0x6018, kFlatRsi = 0x6020, kFlatInterrupts = 0x6028,
                   kFlatApCounters = 0x6100, kFlatKvmClock = 0x6a00, kFlatBootParams = 0x7000,
                   kFlatPageTables = 0x9000;

struct TestMachine {
  uint64_t ramBytes;
  uint32_t vcpus;              // the guest uses the first; the others wait for INIT and SIPI
  uint32_t lastApicId;         // of the last vCPU; the others are numbered from 0
  uint64_t baseBytes = 12288;  // an odd number of pages
  uint64_t mailboxBytes = 65536;
  Fd ram, mailbox;
  std::string basePath;  // the file behind `base`; removed by the destructor
  Fd base;               // read-only

  // At most 2 GiB, without base and mailbox, which come after.
  explicit TestMachine(uint64_t ramBytes = uint64_t{4} << 20, uint32_t vcpus = 1);
  ~TestMachine();
  TestMachine(const TestMachine&) = delete;
  TestMachine& operator=(const TestMachine&) = delete;

  // What boots it, once ram, base and mailbox are given.
  void describe(rpc::PreparedMachine::Builder machine) const;
  uint64_t baseGpa() const { return ramBytes; }
  uint64_t mailboxGpa() const { return ramBytes + baseBytes; }
};

}  // namespace ktstr::vmm
