// For tests: a guest's RAM that holds what the monitor needs of a kernel, made byte by byte as Linux would:
// page tables, VMCOREINFO, kallsyms in any encoding, BTF, per-CPU runqueues, tasks.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "monitor/ram_file.h"
#include "protocol/fd.h"

struct btf;

namespace ktstr::test {

// Where the kernel keeps sched_ext's event counters.
enum class EventPlace { perCpuPart, pointer, variable, nowhere };

enum class KallsymsEncoding { placeRelative, baseRelative, absolutePerCpu };

// The parts of an encoded symbol table, to be placed in memory.
struct EncodedKallsyms {
  std::vector<std::byte> names, tokenTable, tokenIndex, offsets;
  uint32_t count = 0;
};

// As scripts/kallsyms.c does. `symbols` by ascending address; addresses are run-time ones, or absolute values
// below kernelMapBase. The type character of every symbol is 'D'.
EncodedKallsyms encodeKallsyms(const std::vector<std::pair<std::string, uint64_t>>& symbols,
                               KallsymsEncoding encoding, uint64_t offsetsAddress, uint64_t relativeBase);

// BTF of the types that KernelLayout looks for, at the offsets below. `withScx`: also those of sched_ext.
// `first`: adds types before them.
std::vector<std::byte> makeBtf(bool withScx = true, EventPlace events = EventPlace::perCpuPart,
                               const std::function<void(btf*)>& first = {});

// Adds structs with the members of a KernelLayout::toText().
void addLayout(btf* types, const std::string& layout);

namespace offsets {
inline constexpr uint32_t rqNrRunning = 0, rqCurr = 16, rqScx = 64, rqClock = 128, rqCpu = 136, rqBytes = 256;
inline constexpr uint32_t rqSchedstat = 144, rqSchedInfo = 168, rqCpuTime = 184, rqCfs = 192, rqDomain = 216;
inline constexpr uint32_t domainParent = 0, domainLevel = 8, domainSpan = 16, domainName = 40,
                          domainCount = 48, domainStats = 80, domainBytes = 100;
inline constexpr uint32_t scxLocalDsq = 0, scxNrRunning = 32, scxFlags = 40, dsqNr = 12;
inline constexpr uint32_t taskFlags = 0, taskPid = 8, taskComm = 24, scxSchedOps = 16, opsName = 40;
inline constexpr uint32_t scxSchedPerCpu = 200, perCpuEvents = 24, eventA = 0, eventB = 8;
}  // namespace offsets

struct KernelOptions {
  KallsymsEncoding encoding = KallsymsEncoding::placeRelative;
  unsigned levels = 5;
  uint32_t cpus = 4;
  uint64_t slide = 0x1060'0000;
  uint64_t textGpa = 0xa0'0000;  // where _text is
  std::string release = "7.3.4-test";
  std::string buildId = "1fe9968467f2755292a45806719b9bba136b0cc8";
  bool vmcoreinfo = true;
  bool btf = true;
  EventPlace events = EventPlace::perCpuPart;
  std::function<void(::btf*)> firstTypes = {};       // of BTF, as of makeBtf()
  std::map<std::string, uint64_t> moreSymbols = {};  // offsets from _text
};

class TestKernel {
 public:
  static constexpr uint64_t ramBytes = uint64_t{64} << 20;
  static constexpr uint64_t vmcoreinfoGpa = 0x30'0000;

  explicit TestKernel(KernelOptions options = {});

  // A descriptor for the monitor: sealed against writable mappings if `sealed`.
  Fd file(bool sealed = true);
  RamFile ram() { return RamFile(file(), modelRamLayout(ramBytes)); }
  std::span<std::byte> bytes() { return mapping_.bytes(); }

  // Writes a scalar at a guest-physical address.
  template <typename T>
  void put(uint64_t gpa, T value) {
    std::memcpy(mapping_.data() + gpa, &value, sizeof value);
  }
  void putText(uint64_t gpa, std::string_view text);

  uint64_t rqGpa(uint32_t cpu) const { return 0x40'0000 + uint64_t{cpu} * 0x1'0000; }
  uint64_t taskGpa(uint32_t number) const { return 0x80'0000 + uint64_t{number} * 0x1000; }
  uint64_t schedulerGpa() const { return 0x60'0000; }
  // A CPU's event counters, wherever they are.
  uint64_t eventsGpa(uint32_t cpu) const { return rqGpa(cpu) + 0x1000; }
  uint64_t direct(uint64_t gpa) const { return pageOffset_ + gpa; }  // address in the direct map
  uint64_t symbolGpa(const std::string& name) const;
  uint64_t symbolVa(const std::string& name) const;  // run-time
  uint64_t linkAddress(const std::string& name) const { return symbols_.at(name); }
  uint64_t physBase() const {
    return options_.textGpa - (linkText_ + options_.slide - 0xffff'ffff'8000'0000);
  }
  std::string banner() const;

  // CPU `cpu` runs task `number`, which gets this pid and comm.
  void run(uint32_t cpu, uint32_t number, int32_t pid, std::string_view comm, uint32_t nrRunning,
           uint64_t clock);
  // sched_ext is enabled with a scheduler of this name.
  void attachScheduler(std::string_view name);

 private:
  void placeSymbols();
  void mapImage();
  void writeVariables();
  void writeKallsyms();
  void writeVmcoreinfo();

  KernelOptions options_;
  uint64_t linkText_ = 0xffff'ffff'8100'0000;
  uint64_t pageOffset_;
  std::map<std::string, uint64_t> symbols_;  // link addresses; absolute values below kernelMapBase
  Fd fd_;
  Mapping mapping_;
};

}  // namespace ktstr::test
