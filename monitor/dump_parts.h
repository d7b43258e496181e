// The sections of a dump, and what they share. Each copy...() reads the guest, each name...() reads only
// `out` and what its copy kept.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "monitor/bpf_values.h"
#include "monitor/dump.h"
#include "monitor/kernel_fields.h"
#include "protocol/fd.h"
#include "protocol/text.h"

namespace ktstr {

// While a dump is being made. `fields` reads the guest.
struct DumpSource {
  const Attachment& attachment;
  const KernelFields& fields;
  Absences& absent;
  std::vector<uint32_t> cpus;  // possible ones
  uint64_t scheduler = 0;      // *scx_root; 0: none, or not readable
  uint64_t jiffies = 0;
  double jiffyMs = 0;     // 0: not known
  uint64_t deadline = 0;  // CLOCK_MONOTONIC, ns

  const GuestKernel& kernel() const { return fields.kernel(); }
  const KernelLayout& layout() const { return fields.layout(); }
  // False after the deadline, which is then why the rest of `section` is absent.
  bool hasTime(const char* section) const {
    const bool has = monotonicNs() < deadline;
    if (!has)
      absent.add(section, text("the rest: there was no more time after ", dump_limits::seconds, " s"));
    return has;
  }
};

// Reads members of one object after another. What this kernel does not have is named once among the absences,
// as "cpus.rq.clock" of section "cpus"; what is not in memory is told of each object by takeIncomplete().
class MemberReader {
 public:
  // Both must outlive this object.
  MemberReader(const DumpSource& source, const char* section) : source_(source), section_(section) {}

  // "rq.clock", which has the size of T.
  template <typename T>
  std::optional<T> get(uint64_t address, const char* member) {
    const auto field = find(member, sizeof(T));
    return field ? at<T>(address + field->offset, member) : std::nullopt;
  }
  // `member`, or what older kernels have instead.
  template <typename T>
  std::optional<T> getEither(uint64_t address, const char* member, const char* older) {
    if (source_.layout().member(member)) return get<T>(address, member);
    if (!source_.layout().member(older)) find(member, sizeof(T));
    return get<T>(address, older);
  }
  // Where it is.
  std::optional<uint64_t> place(uint64_t address, const char* member) {
    const auto field = find(member, 0);
    return field ? std::optional(address + field->offset) : std::nullopt;
  }
  // Characters that it holds, printable; empty if there are none to read.
  std::string chars(uint64_t address, const char* member);
  // A word elsewhere; `what` it is.
  template <typename T>
  std::optional<T> at(uint64_t address, const char* what) {
    const auto value = source_.kernel().read<T>(address);
    if (!value) gap(text(what, " at ", hex(address), " is not in memory"));
    return value;
  }
  // The first counts.
  void gap(std::string why) {
    if (incomplete_.empty()) incomplete_ = std::move(why);
  }
  std::string takeIncomplete() { return std::exchange(incomplete_, {}); }

 private:
  // `size` 0: any.
  std::optional<Field> find(const char* member, size_t size);

  const DumpSource& source_;
  const char* section_;
  std::string incomplete_;
  std::unordered_map<std::string_view, bool> named_;  // members that are absent
};

// The possible CPUs whose bit is set in a struct cpumask; nothing if it is not in memory.
std::optional<std::vector<uint32_t>> readCpus(const DumpSource& source, uint64_t mask);
std::string cpuRanges(const std::vector<uint32_t>& cpus);  // "0-3,8"
// Of a cpumask_var_t: the mask itself, or a pointer to it (CONFIG_CPUMASK_OFFSTACK), which looks like one.
std::optional<std::vector<uint32_t>> readCpusOf(const DumpSource& source, uint64_t variable);

// The enumerators of `enumName` that are one bit each and set in `flags`, without `prefix`. Those that are
// part of a field, as the enum's *_MASK say, are none.
std::vector<std::string> flagNames(const KernelLayout& layout, std::string_view enumName,
                                   std::string_view prefix, uint32_t flags);
void setTexts(capnp::List<capnp::Text>::Builder list, const std::vector<std::string>& texts);

// ---- scheduler: ops, exit info, events

struct ExitTrace {
  std::vector<uint64_t> addresses;
};
ExitTrace copyScheduler(const DumpSource& source, rpc::Dump::Builder out);
void nameScheduler(const DumpSource& source, const ExitTrace& trace, rpc::Dump::Builder out);

// The attached scheduler and its sub-schedulers.
void copyHierarchy(const DumpSource& source, rpc::SchedulerState::Builder out);

// ---- its queues and CPUs

void copyDsqs(const DumpSource& source, rpc::Dump::Builder out);
void copyCpus(const DumpSource& source, rpc::Dump::Builder out);
void nameCpus(const DumpSource& source, rpc::Dump::Builder out);

// ---- tasks and cgroups

// Paths of the default hierarchy ("/a/b"), each looked up once.
class CgroupPaths {
 public:
  explicit CgroupPaths(const DumpSource& source) : source_(source) {}
  // Of a struct cgroup; empty if it cannot be read, or all that was asked for is more than
  // dump_limits::pathBytes.
  const std::string& of(uint64_t cgroup);

 private:
  void nameAbsent() const;

  const DumpSource& source_;
  std::unordered_map<uint64_t, std::string> known_;
  size_t left_ = dump_limits::pathBytes;
};
// After copyCpus().
void copyTasks(const DumpSource& source, CgroupPaths& paths, rpc::Dump::Builder out);
void nameTasks(const DumpSource& source, rpc::Dump::Builder out);
void copyCgroups(const DumpSource& source, CgroupPaths& paths, rpc::Dump::Builder out);

// ---- maps

struct MapCopy {
  BpfMap map;
  Walk<MapEntry> entries;
  std::optional<uint64_t> arenaStart = {};  // of an arena
};
struct MapCopies {
  std::vector<MapCopy> maps;                   // by id
  std::map<uint64_t, ProgramTypesCopy> types;  // by address of struct btf
};
MapCopies copyMaps(const DumpSource& source);
void renderMaps(const DumpSource& source, const MapCopies& copies, rpc::Dump::Builder out);

}  // namespace ktstr
