#include "monitor/sample_text.h"

#include <cstdio>

#include "monitor/text_table.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t columns = 100;

// "524", "12.3k", "4.56M": three digits or four.
std::string brief(double value) {
  constexpr const char* units[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (value >= 9999.5 && unit + 1 < std::size(units)) value /= 1000, ++unit;
  char words[32];
  const bool isWhole =
      value >= 100 || (unit == 0 && value == static_cast<double>(static_cast<uint64_t>(value)));
  snprintf(words, sizeof words, "%.*f%s", isWhole ? 0 : value < 10 ? 2 : 1, value, units[unit]);
  return words;
}

std::string sum(capnp::List<uint32_t>::Reader list) {
  uint64_t all = 0;
  for (const uint32_t one : list) all += one;
  return brief(static_cast<double>(all));
}

const char* stateName(rpc::ScxState state) {
  constexpr const char* names[] = {"enabling", "enabled", "disabling", "disabled", "unknown"};
  const auto index = static_cast<size_t>(state);
  return index < std::size(names) ? names[index] : "?";
}

std::string domains(rpc::Sample::Reader sample) {
  std::vector<TextRow> rows = {{"CPU", "domain", "CPUs", "every", "failed", "newidle us", "balanced"}};
  for (const auto cpu : sample.getCpus()) {
    for (const auto domain : cpu.getDomains()) {
      rows.push_back({text(cpu.getCpu()), domain.getName().cStr(), text(domain.getSpanWeight()),
                      text(domain.getBalanceInterval()), text(domain.getNrBalanceFailed()),
                      brief(static_cast<double>(domain.getMaxNewidleLbCostNs()) / 1000)});
      if (domain.getLbCount().size() > 0)
        rows.back().push_back(text(sum(domain.getLbCount()), " (", sum(domain.getLbFailed()), " failed)"));
    }
  }
  return rows.size() > 1 ? textTable(rows, 2) : "";
}

}  // namespace

SampleText::Counters SampleText::grown(std::map<uint32_t, Counters>& known, uint32_t key, Counters now) {
  Counters& last = known[key];
  Counters by = now;
  for (size_t i = 0; i < now.size() && last.size() == now.size(); ++i) {
    if (now[i] >= last[i]) by[i] = now[i] - last[i];
  }
  last = std::move(now);
  return by;
}

std::vector<std::string> SampleText::cpuRow(rpc::CpuSample::Reader cpu) {
  if (!cpu.getValid()) return {text(cpu.getCpu()), "not readable"};
  const bool isScx = cpu.getScxValid();
  TextRow row = {text(cpu.getCpu()),
                 text(cpu.getNrRunning()),
                 isScx ? text(cpu.getScxNrRunning()) : "",
                 isScx ? text(cpu.getLocalDsqDepth()) : "",
                 cpu.hasCfs() ? text(cpu.getCfs().getHNrQueued()) : "",
                 text(cpu.getCurrComm().cStr(), '[', cpu.getCurrPid(), ']', cpu.getAsked() ? " asked" : "",
                      cpu.getTorn() ? " torn" : "")};
  if (!cpu.hasSchedstat()) return row;
  const auto stat = cpu.getSchedstat();
  const Counters by = grown(cpus_, cpu.getCpu(),
                            {stat.getSchedCount(), stat.getSchedGoidle(), stat.getTtwuCount(),
                             stat.getTtwuLocal(), stat.getCpuTimeNs(), stat.getRunDelayNs()});
  for (size_t i = 0; i < by.size(); ++i) {
    const bool isTime = i >= 4;
    row.push_back(brief(static_cast<double>(by[i]) / (isTime ? 1e6 : 1)));
  }
  return row;
}

std::string SampleText::programs(rpc::Sample::Reader sample) {
  std::string out, line = "  programs";
  for (const auto program : sample.getProgs()) {
    const Counters by =
        grown(programs_, program.getId(), {program.getRuns(), program.getNanos(), program.getMisses()});
    if (by[0] == 0 && by[2] == 0) continue;
    std::string words = text(' ', program.getName().cStr(), ' ', brief(static_cast<double>(by[0])));
    if (by[0] > 0)
      words += text(" x ", brief(static_cast<double>(by[1]) / static_cast<double>(by[0]) / 1000), " us");
    if (by[2] > 0) words += text(" (", by[2], " missed)");
    if (line.size() + words.size() + 1 > columns) out += line + "\n", line = "          ";
    line += words + ',';
  }
  if (!line.ends_with(',')) return {};
  line.pop_back();
  return out + line + '\n';
}

std::string SampleText::describe(rpc::Sample::Reader sample) {
  const auto scx = sample.getScx();
  std::string out =
      text('#', sample.getSequence(), " jiffies ", sample.getJiffies(), ", scx ",
           scx.getPresent() ? stateName(scx.getState()) : "absent", scx.getOpsName().size() > 0 ? " " : "",
           scx.getOpsName().cStr(), ", ", brief(sample.getCostNs() / 1000.0), " us, counters since ",
           before_ ? text('#', *before_) : "boot", '\n');
  std::vector<TextRow> rows = {{"CPU", "run", "scx", "local", "cfs", "current", "calls", "idle", "wakeups",
                                "here", "cpu ms", "wait ms"}};
  for (const auto cpu : sample.getCpus()) rows.push_back(cpuRow(cpu));
  out += textTable(rows, 2) + programs(sample) + domains(sample);
  if (sample.getIncomplete().size() > 0) out += text("  left out: ", sample.getIncomplete().cStr(), '\n');
  before_ = sample.getSequence();
  out.pop_back();
  return out;
}

}  // namespace ktstr
