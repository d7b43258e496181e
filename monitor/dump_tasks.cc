// All tasks, with what sched_ext keeps of them (struct sched_ext_entity).
#include <algorithm>
#include <unordered_set>

#include "monitor/dump_parts.h"
#include "monitor/task_list.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// As ps has them.
std::string stateLetter(const std::string& state) {
  static const std::map<std::string, const char*> letters = {
      {"running", "R"}, {"sleeping", "S"}, {"disk sleep", "D"}, {"stopped", "T"},
      {"traced", "t"},  {"idle", "I"},     {"zombie", "Z"},     {"dead", "X"}};
  const auto known = letters.find(state);
  return known == letters.end() ? state : known->second;
}

class TaskSection {
 public:
  TaskSection(const DumpSource& source, CgroupPaths& paths)
      : source_(source), paths_(paths), members_(source, "tasks") {}

  void copy(rpc::Dump::Builder out) {
    for (const auto cpu : out.asReader().getCpus()) {
      for (const int32_t pid : cpu.getRunnable()) waiting_.insert(pid);
    }
    auto walk = listTasks(source_.kernel(), source_.layout(), dump_limits::tasks);
    if (!walk.problem.empty()) source_.absent.add("tasks", walk.problem);
    std::sort(walk.found.begin(), walk.found.end(), [](auto& a, auto& b) { return a.pid < b.pid; });
    auto list = out.initTasks(static_cast<unsigned>(walk.found.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setPid(walk.found[i].pid);
      list[i].setTgid(walk.found[i].tgid);
      if (source_.hasTime("tasks")) {
        fill(walk.found[i], list[i]);
        fillScx(walk.found[i].address, list[i]);
      } else {
        members_.gap("there was no time for it");
      }
      list[i].setIncomplete(members_.takeIncomplete());
    }
    if (source_.jiffyMs == 0)
      source_.absent.add("tasks.runnableMs", "clocksource_jiffies does not tell how long a tick is");
  }

 private:
  void fill(const TaskInfo& task, rpc::TaskState::Builder out) {
    const uint64_t address = task.address;
    out.setComm(members_.chars(address, "task_struct.comm"));
    out.setState(stateLetter(task.state));
    if (const auto cpu = members_.get<uint32_t>(address, "task_struct.thread_info.cpu"))
      out.setCpu(static_cast<int32_t>(*cpu));
    fillClass(task, out);
    out.setPolicy(members_.get<uint32_t>(address, "task_struct.policy").value_or(0));
    out.setSumExecNs(members_.get<uint64_t>(address, "task_struct.se.sum_exec_runtime").value_or(0));
    fillAllowed(address, out);
    const auto set = members_.get<uint64_t>(address, "task_struct.cgroups");
    const auto cgroup = set ? members_.get<uint64_t>(*set, "css_set.dfl_cgrp") : std::nullopt;
    if (!cgroup) return;
    const auto& path = paths_.of(*cgroup);
    if (path.empty()) members_.gap(text("the path of its cgroup at ", hex(*cgroup), " cannot be read"));
    out.setCgroup(path);
  }

  void fillClass(const TaskInfo& task, rpc::TaskState::Builder out) {
    out.setSchedClass(task.schedClass);
    if (!task.schedClass.empty()) return;
    if (const auto address = members_.get<uint64_t>(task.address, "task_struct.sched_class"))
      members_.gap(text("its sched_class at ", hex(*address), " is none of the known ones"));
  }

  void fillAllowed(uint64_t task, rpc::TaskState::Builder out) {
    const auto mask = members_.get<uint64_t>(task, "task_struct.cpus_ptr");
    if (!mask) return;
    const auto cpus = readCpus(source_, *mask);
    if (cpus)
      out.setAllowed(cpuRanges(*cpus));
    else
      members_.gap(text("its allowed CPUs at ", hex(*mask), " are not in memory"));
  }

  // Nothing of a kernel without sched_ext.
  void fillScx(uint64_t task, rpc::TaskState::Builder out) {
    const auto flags = members_.get<uint32_t>(task, "task_struct.scx.flags");
    if (!flags) return;
    out.setScxFlags(*flags);
    out.setWeight(members_.get<uint32_t>(task, "task_struct.scx.weight").value_or(0));
    out.setSliceNs(members_.get<uint64_t>(task, "task_struct.scx.slice").value_or(0));
    out.setVtime(members_.get<uint64_t>(task, "task_struct.scx.dsq_vtime").value_or(0));
    out.setStickyCpu(members_.get<int32_t>(task, "task_struct.scx.sticky_cpu").value_or(-1));
    out.setHoldingCpu(members_.get<int32_t>(task, "task_struct.scx.holding_cpu").value_or(-1));
    out.setDisallowed(members_.get<uint8_t>(task, "task_struct.scx.disallow").value_or(0) != 0);
    const auto dsq = members_.get<uint64_t>(task, "task_struct.scx.dsq").value_or(0);
    const auto id = dsq ? members_.get<uint64_t>(dsq, "scx_dispatch_q.id") : std::nullopt;
    out.setOnDsq(id.has_value());
    out.setDsq(id.value_or(0));
    if (source_.jiffyMs == 0 || !waiting_.contains(out.getPid())) return;
    if (const auto since = members_.get<uint64_t>(task, "task_struct.scx.runnable_at"))
      out.setRunnableMs(static_cast<double>(static_cast<int64_t>(source_.jiffies - *since)) *
                        source_.jiffyMs);
  }

  const DumpSource& source_;
  CgroupPaths& paths_;
  MemberReader members_;
  std::unordered_set<int32_t> waiting_;
};

// The state is a field of the flags. Kernels up to 7.0 number it in an enum scx_task_state, later ones have
// its values in place among the flags.
std::string taskState(const KernelLayout& layout, uint32_t flags) {
  constexpr std::string_view prefix = "SCX_TASK_";
  uint32_t mask = 0, shift = 0;
  for (const auto& [name, value] : layout.enumerators("scx_ent_flags")) {
    if (name == "SCX_TASK_STATE_MASK") mask = static_cast<uint32_t>(value);
    if (name == "SCX_TASK_STATE_SHIFT") shift = static_cast<uint32_t>(value);
  }
  const auto states = layout.enumerators("scx_task_state");
  if (mask == 0 || shift > 31) return {};
  for (const auto& [name, value] : states.empty() ? layout.enumerators("scx_ent_flags") : states) {
    const uint32_t wanted = states.empty() ? flags & mask : (flags & mask) >> shift;
    const bool isField = name.ends_with("_SHIFT") || name.ends_with("_BITS") || name.ends_with("_MASK");
    const bool isState = !states.empty() || (static_cast<uint32_t>(value) & ~mask) == 0;
    if (isState && !isField && !name.starts_with("SCX_TASK_REENQ_") && static_cast<uint32_t>(value) == wanted)
      return name.substr(name.starts_with(prefix) ? prefix.size() : 0);
  }
  return {};
}

}  // namespace

void copyTasks(const DumpSource& source, CgroupPaths& paths, rpc::Dump::Builder out) {
  TaskSection(source, paths).copy(out);
}

void nameTasks(const DumpSource& source, rpc::Dump::Builder out) {
  std::map<uint32_t, std::pair<std::vector<std::string>, std::string>>
      known;  // most tasks have few in common
  for (auto task : out.getTasks()) {
    const uint32_t flags = task.getScxFlags();
    const auto [at, isNew] = known.try_emplace(flags);
    auto& [names, state] = at->second;
    if (isNew) {
      names = flagNames(source.layout(), "scx_ent_flags", "SCX_TASK_", flags);
      state = taskState(source.layout(), flags);
    }
    task.setTaskState(state);
    setTexts(task.initFlagNames(static_cast<unsigned>(names.size())), names);
  }
}

}  // namespace ktstr
