#include "monitor/dump_text.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "monitor/text_table.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

std::string milliseconds(double value) {
  char words[48];
  snprintf(words, sizeof words, "%.*f ms", value < 10 ? 2 : 0, value);
  return words;
}

std::string joined(capnp::List<capnp::Text>::Reader list, const char* between) {
  std::string out;
  for (const auto word : list) out += (out.empty() ? "" : between) + std::string(word);
  return out;
}

const char* reasonName(rpc::DumpReason reason) {
  constexpr const char* names[] = {"demand", "operation", "watch", "periodic", "violation", "failure"};
  const auto index = static_cast<size_t>(reason);
  return index < std::size(names) ? names[index] : "?";
}

std::string indented(const std::string& lines) {
  std::string out;
  for (size_t at = 0; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    out += "  " + lines.substr(at, end - at) + '\n';
    at = end + 1;
  }
  return out;
}

// "local 0", "global, node 1", "bypass 3", "0x3e8"
std::string dsqName(rpc::DsqState::Reader dsq) {
  switch (dsq.getKind()) {
    case rpc::DsqKind::LOCAL:
      return text("local ", dsq.getCpu());
    case rpc::DsqKind::GLOBAL:
      return text("global ", dsq.getNode());
    case rpc::DsqKind::BYPASS:
      return text("bypass ", dsq.getCpu());
    case rpc::DsqKind::USER:
      return hex(dsq.getId());
  }
  return "?";
}

std::string queuedTasks(rpc::DsqState::Reader dsq) {
  std::string out;
  for (const auto task : dsq.getTasks())
    out += text(out.empty() ? "" : ", ", task.getComm().cStr(), "[", task.getPid(), "]");
  if (dsq.getIncomplete().size() > 0) out += text(out.empty() ? "" : "; ", dsq.getIncomplete().cStr());
  return out;
}

std::string schedulerText(rpc::Dump::Reader dump) {
  const auto scheduler = dump.getScheduler();
  std::string out = text("sched_ext  ", scheduler.getState().cStr());
  if (scheduler.getOpsName().size() > 0) out += text(", ", scheduler.getOpsName().cStr());
  if (scheduler.getAborting()) out += ", aborting";
  if (scheduler.getBypassDepth() > 0) out += text(", bypassed (depth ", scheduler.getBypassDepth(), ")");
  if (scheduler.getWatchdogTimeoutMs() == scheduler.getWatchdogTimeoutMs())
    out += ", watchdog " + milliseconds(scheduler.getWatchdogTimeoutMs());
  out += '\n';
  const auto exit = scheduler.getExit();
  if (exit.getKind() == 0) return out;
  out += text("exit       ", exit.getKindName().size() > 0 ? exit.getKindName().cStr() : "kind ",
              exit.getKindName().size() > 0 ? "" : text(exit.getKind()), ": ", exit.getReason().cStr());
  if (exit.getMessage().size() > 0) out += text(" (", exit.getMessage().cStr(), ")");
  if (exit.getExitCode() != 0) out += text(", code ", exit.getExitCode());
  if (exit.getExitCpu() >= 0) out += text(", on CPU ", exit.getExitCpu());
  out += '\n';
  for (const auto line : exit.getBacktrace()) out += text("  ", line.cStr(), '\n');
  return out;
}

// One that is alone was shown before.
std::string hierarchyText(rpc::SchedulerState::Reader scheduler) {
  if (scheduler.getHierarchy().size() < 2) return {};
  std::vector<TextRow> rows = {{"scheduler", "cgroup", "exit"}};
  for (const auto one : scheduler.getHierarchy()) {
    const auto depth = static_cast<size_t>(std::clamp(one.getLevel(), 0, 16));
    rows.push_back({std::string(2 * depth, ' ') + one.getOpsName().cStr(), one.getCgroup().cStr(),
                    one.getExitKind() == 0             ? ""
                    : one.getExitKindName().size() > 0 ? one.getExitKindName().cStr()
                                                       : text("kind ", one.getExitKind())});
  }
  return "hierarchy\n" + textTable(rows, 2);
}

std::string cpusText(rpc::Dump::Reader dump) {
  std::vector<TextRow> rows = {{"CPU", "running", "of scx", "current", "flags", "waiting"}};
  for (const auto cpu : dump.getCpus()) {
    std::string waiting;
    for (const int32_t pid : cpu.getRunnable()) waiting += text(waiting.empty() ? "" : " ", pid);
    if (cpu.getIncomplete().size() > 0)
      waiting += text(waiting.empty() ? "" : "; ", cpu.getIncomplete().cStr());
    rows.push_back({text(cpu.getCpu()), text(cpu.getNrRunning()), text(cpu.getScxNrRunning()),
                    text(cpu.getCurrComm().cStr(), "[", cpu.getCurrPid(), "]"),
                    joined(cpu.getFlagNames(), "|"), waiting});
  }
  return "cpus\n" + textTable(rows, 2);
}

std::string tasksText(rpc::Dump::Reader dump) {
  std::vector<TextRow> rows = {
      {"PID", "comm", "state", "CPU", "class", "scx", "weight", "slice", "waits", "on", "allowed", "cgroup"}};
  for (const auto task : dump.getTasks()) {
    const bool waits = task.getRunnableMs() == task.getRunnableMs();
    rows.push_back({text(task.getPid()), task.getComm().cStr(), task.getState().cStr(), text(task.getCpu()),
                    task.getSchedClass().cStr(), task.getTaskState().cStr(), text(task.getWeight()),
                    milliseconds(static_cast<double>(task.getSliceNs()) / 1e6),
                    waits ? milliseconds(task.getRunnableMs()) : "",
                    task.getOnDsq() ? hex(task.getDsq()) : "", task.getAllowed().cStr(),
                    task.getCgroup().cStr()});
  }
  return "tasks\n" + textTable(rows, 2);
}

std::string mapsText(rpc::Dump::Reader dump) {
  std::string out = "maps\n";
  for (const auto map : dump.getMaps()) {
    out += text("  ", map.getName().cStr(), " #", map.getId(), " ", map.getType().cStr(), ", ",
                map.getEntries().size(), " values shown, at most ", map.getMaxEntries(), " entries");
    if (map.getIncomplete().size() > 0) out += text("; ", map.getIncomplete().cStr());
    out += '\n';
    for (const auto entry : map.getEntries()) {
      out += text("    ", entry.getKey().cStr());
      if (entry.getCpu() >= 0) out += text(" CPU ", entry.getCpu());
      out += text(": ", entry.getValue().cStr(), '\n');
    }
  }
  return out;
}

std::string eventsText(rpc::Dump::Reader dump) {
  std::vector<TextRow> rows;
  for (const auto event : dump.getEvents()) {
    if (event.getCount() != 0) rows.push_back({event.getName().cStr(), text(event.getCount())});
  }
  return text("events (", dump.getEvents().size() - rows.size(), " more are 0)\n") + textTable(rows, 2);
}

}  // namespace

std::string dsqsAsText(rpc::Dump::Reader dump) {
  std::vector<TextRow> rows = {{"DSQ", "tasks", "seq", "in order"}};
  unsigned empty = 0;
  for (const auto dsq : dump.getDsqs()) {
    if (dsq.getNr() == 0 && dsq.getTasks().size() == 0 && dsq.getIncomplete().size() == 0)
      ++empty;
    else
      rows.push_back({dsqName(dsq), text(dsq.getNr()), text(dsq.getSeq()), queuedTasks(dsq)});
  }
  return text("dsqs (", empty, " more are empty)\n") + (rows.size() > 1 ? textTable(rows, 2) : "");
}

std::string dumpAsText(rpc::Dump::Reader dump, bool maps) {
  std::string out = text("snapshot ", dump.getName().cStr(), " (", reasonName(dump.getReason()), "), ");
  out += dump.getFrozenNs() > 0 ? "frozen for " + milliseconds(static_cast<double>(dump.getFrozenNs()) / 1e6)
                                : "not frozen";
  if (dump.getNotFrozen().size() > 0) out += text(": ", dump.getNotFrozen().cStr());
  out += '\n' + schedulerText(dump) + hierarchyText(dump.getScheduler()) + dsqsAsText(dump) + cpusText(dump) +
         tasksText(dump);
  std::vector<TextRow> cgroups = {{"cgroup", "weight"}};
  for (const auto cgroup : dump.getCgroups())
    cgroups.push_back({cgroup.getPath().cStr(), text(cgroup.getWeight())});
  out += "cgroups\n" + textTable(cgroups, 2) + eventsText(dump);
  std::vector<TextRow> registers;
  for (unsigned i = 0; i < dump.getRegisters().size(); ++i)
    registers.push_back(
        {text("vCPU ", i), hex(dump.getRegisters()[i].getRip()), dump.getRegisters()[i].getSymbol().cStr()});
  if (!registers.empty()) out += "registers\n" + textTable(registers, 2);
  if (maps) out += mapsText(dump);
  if (dump.getSchedulerStats().size() > 0)
    out += text("the scheduler's own statistics\n  ", dump.getSchedulerStats().cStr(), '\n');
  const auto kernelDump = dump.getScheduler().getExit().getDump();
  if (kernelDump.size() > 0) out += "the kernel's own dump\n" + indented(kernelDump.cStr());
  if (dump.getAbsent().size() > 0) out += "absent\n";
  for (const auto absent : dump.getAbsent())
    out += text("  ", absent.getSection().cStr(), ": ", absent.getReason().cStr(), '\n');
  return out;
}

}  // namespace ktstr
