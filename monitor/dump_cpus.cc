// The runqueues, as sched_ext sees them (struct scx_rq).
#include "monitor/dump_parts.h"
#include "monitor/guest_list.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

class CpuSection {
 public:
  explicit CpuSection(const DumpSource& source)
      : source_(source), fields_(source.fields), members_(source, "cpus") {}

  void copy(rpc::Dump::Builder out) {
    auto list = out.initCpus(static_cast<unsigned>(source_.cpus.size()));
    const auto runqueues = source_.kernel().symbol("runqueues");
    if (!runqueues) source_.absent.add("cpus", "no symbol runqueues");
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setCpu(source_.cpus[i]);
      const auto rq = runqueues ? source_.kernel().perCpu(*runqueues, source_.cpus[i]) : std::nullopt;
      if (!source_.hasTime("cpus"))
        list[i].setIncomplete("there was no time");
      else if (rq)
        fill(*rq, source_.cpus[i], list[i]);
      else
        list[i].setIncomplete("it has no runqueue");
    }
  }

 private:
  void fill(uint64_t rq, uint32_t cpu, rpc::CpuState::Builder out) {
    const auto curr = members_.get<uint64_t>(rq, "rq.curr");
    const auto nrRunning = members_.get<uint32_t>(rq, "rq.nr_running");
    members_.takeIncomplete();
    if (!curr || !nrRunning) return out.setIncomplete("its runqueue cannot be read");
    out.setNrRunning(*nrRunning);
    out.setClock(members_.get<uint64_t>(rq, "rq.clock").value_or(0));
    out.setCurrPid(members_.get<int32_t>(*curr, "task_struct.pid").value_or(0));
    out.setCurrComm(members_.chars(*curr, "task_struct.comm"));
    out.setScxNrRunning(members_.get<uint32_t>(rq, "rq.scx.nr_running").value_or(0));
    out.setScxFlags(members_.get<uint32_t>(rq, "rq.scx.flags").value_or(0));
    out.setCpuReleased(members_.get<uint8_t>(rq, "rq.scx.cpu_released").value_or(0) != 0);
    fillRunnable(rq, out);
    fillKicked(rq, cpu, out);
    out.setIncomplete(members_.takeIncomplete());
  }

  void fillRunnable(uint64_t rq, rpc::CpuState::Builder out) {
    const auto head = fields_.at(rq, "rq.scx.runnable_list");
    const auto node = source_.layout().member("task_struct.scx.runnable_node");
    if (!head || !node)
      return source_.absent.add(
          "cpus.runnable",
          source_.layout().whyAbsent(head ? "task_struct.scx.runnable_node" : "rq.scx.runnable_list"));
    const auto walk = walkList(source_.kernel(), *head, tasksLeft_);
    tasksLeft_ -= walk.found.size();
    if (!walk.problem.empty()) members_.gap(walk.problem);
    std::vector<int32_t> pids;
    for (const uint64_t link : walk.found) {
      if (const auto pid = members_.get<int32_t>(link - node->offset, "task_struct.pid"))
        pids.push_back(*pid);
    }
    auto list = out.initRunnable(static_cast<unsigned>(pids.size()));
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, pids[i]);
  }

  // In the runqueue, from 7.2 on in the scheduler's per-CPU part.
  void fillKicked(uint64_t rq, uint32_t cpu, rpc::CpuState::Builder out) {
    auto place = fields_.at(rq, "rq.scx.cpus_to_kick");
    const auto part =
        source_.scheduler ? fields_.get<uint64_t>(source_.scheduler, "scx_sched.pcpu") : std::nullopt;
    if (const auto own = part ? source_.kernel().perCpu(*part, cpu) : std::nullopt; own && !place)
      place = fields_.at(*own, "scx_sched_pcpu.cpus_to_kick");
    if (!place)
      return source_.absent.add("cpus.kicked",
                                text(source_.layout().whyAbsent("rq.scx.cpus_to_kick"), "; ",
                                     source_.layout().member("scx_sched_pcpu.cpus_to_kick")
                                         ? "scx_sched.pcpu cannot be read, or no scheduler is attached"
                                         : source_.layout().whyAbsent("scx_sched_pcpu.cpus_to_kick")));
    const auto cpus = readCpusOf(source_, *place);
    if (!cpus) return members_.gap("the CPUs that it kicks are not in memory");
    if (cpus->size() > kickedLeft_)
      return members_.gap(text("all CPUs together kick more than ", dump_limits::kicked));
    kickedLeft_ -= cpus->size();
    auto list = out.initKicked(static_cast<unsigned>(cpus->size()));
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, (*cpus)[i]);
  }

  const DumpSource& source_;
  const KernelFields& fields_;
  MemberReader members_;
  size_t tasksLeft_ = dump_limits::tasks, kickedLeft_ = dump_limits::kicked;
};

}  // namespace

void copyCpus(const DumpSource& source, rpc::Dump::Builder out) {
  CpuSection(source).copy(out);
}

void nameCpus(const DumpSource& source, rpc::Dump::Builder out) {
  for (auto cpu : out.getCpus()) {
    const auto names = flagNames(source.layout(), "scx_rq_flags", "SCX_RQ_", cpu.getScxFlags());
    setTexts(cpu.initFlagNames(static_cast<unsigned>(names.size())), names);
  }
}

}  // namespace ktstr
