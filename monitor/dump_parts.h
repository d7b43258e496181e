// The sections of a dump, and what they share. Each copy...() reads the guest, each name...() reads only
// `out` and what its copy kept.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "monitor/bpf_values.h"
#include "monitor/dump.h"
#include "monitor/kernel_fields.h"

namespace ktstr {

// While a dump is being made. `fields` reads the guest.
struct DumpSource {
  const Attachment& attachment;
  const KernelFields& fields;
  Absences& absent;
  std::vector<uint32_t> cpus;  // possible ones
  uint64_t scheduler = 0;      // *scx_root; 0: none, or not readable
  uint64_t jiffies = 0;
  double jiffyMs = 0;  // 0: not known

  const GuestKernel& kernel() const { return fields.kernel(); }
  const KernelLayout& layout() const { return fields.layout(); }
};

// "0-3,8" of a struct cpumask's bits; at most the possible CPUs.
std::vector<uint32_t> readCpus(const DumpSource& source, uint64_t mask);
std::string cpuRanges(const std::vector<uint32_t>& cpus);
// Of a cpumask_var_t: the mask itself, or a pointer to it (CONFIG_CPUMASK_OFFSTACK), which looks like one.
std::vector<uint32_t> readCpusOf(const DumpSource& source, uint64_t variable);

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
  explicit CgroupPaths(const KernelFields& fields) : fields_(fields) {}
  // Of a struct cgroup; empty if it cannot be read.
  const std::string& of(uint64_t cgroup);

 private:
  const KernelFields& fields_;
  std::unordered_map<uint64_t, std::string> known_;
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
