#include "orchestrator/render.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "orchestrator/console.h"
#include "orchestrator/findings.h"
#include "orchestrator/render_text.h"
#include "orchestrator/render_timeline.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

using namespace render;

constexpr size_t nameColumn = 11;  // of the lines below the tables
constexpr size_t findingIndent = 4;
constexpr size_t maxEvidenceLines = 12;
constexpr unsigned maxPrograms = 8;

std::string headline(rpc::RunRecord::Reader record, bool colour) {
  const auto outcome = record.getVerdict().getOutcome();
  std::string line = paint(outcomeWord(outcome), outcome, colour) + "  " +
                     bold(text(clean(record.getScenario()), " under ", clean(record.getScheduler())), colour);
  std::string where;
  const auto add = [&](std::string part) {
    if (!part.empty()) where += (where.empty() ? "" : ", ") + part;
  };
  add(clean(record.getKernel().getRelease()));
  add(clean(record.getTopology()));
  if (record.getMemoryMib() > 0) add(text(record.getMemoryMib(), " MiB"));
  add(clean(record.getAccelerator()));
  line += "\n";
  return where.empty() ? line : line + wrap("on " + where, 2);
}

std::string evidenceLines(capnp::Text::Reader evidence, bool colour) {
  const std::string all = cleanText({evidence.begin(), evidence.size()}), margin(findingIndent, ' ');
  std::istringstream given(all);
  std::string out;
  size_t lines = 0;
  for (std::string line; std::getline(given, line);) {
    std::replace(line.begin(), line.end(), '\t', ' ');
    std::istringstream wrapped(wrap(line, findingIndent + 2));
    for (std::string part; std::getline(wrapped, part);) {
      if (lines++ == maxEvidenceLines) return out + margin + dim("| ... more in record.json", colour) + "\n";
      out += margin + dim("| " + part.substr(findingIndent + 2), colour) + "\n";
    }
  }
  return out;
}

std::string finding(rpc::Finding::Reader finding, bool colour) {
  const auto outcome = finding.getOutcome();
  const std::string kind = outcome == rpc::Outcome::PASS ? "remark" : outcomeName(outcome);
  std::string out = "\n  " + paint(kind + ": " + clean(finding.getName()), outcome, colour) + "\n";
  out += wrap(clean(finding.getMessage()), findingIndent);
  if (finding.getHint().size() > 0) out += wrap("-> " + clean(finding.getHint()), findingIndent);
  return out + evidenceLines(finding.getEvidence(), colour);
}

std::string groupTable(rpc::RunRecord::Reader record) {
  if (record.getGroups().size() == 0) return "";
  Table table;
  bool oneStep = true;
  for (const auto group : record.getGroups()) {
    oneStep = oneStep && group.getStep() == record.getGroups()[0].getStep();
  }
  table.rows.push_back({"step", "cgroup", "work", "n", "spread", "gap", "p50 wake", "p99 wake", "delay",
                        "migr", "iterations", "CPUs seen"});
  for (const auto group : record.getGroups()) {
    table.rows.push_back({clean(group.getStep()), clean(group.getCgroup()), clean(group.getWork()),
                          count(group.getWorkers()), points(group.getSpreadPct()),
                          milliseconds(group.getMaxGapMs()), microseconds(group.getP50WakeLatencyUs()),
                          microseconds(group.getP99WakeLatencyUs()), microseconds(group.getMeanRunDelayUs()),
                          count(group.getMigrations()), rate(group.getIterationsPerSecond()),
                          cpus(group.getCpusSeen())});
  }
  table.rightAligned = {false, false, false, true, true, true, true, true, true, true, true, false};
  table.shrinkable = {0, 1, 2, 11};
  if (oneStep) {
    for (auto& row : table.rows) row.erase(row.begin());
    table.rightAligned.erase(table.rightAligned.begin());
    table.shrinkable = {0, 1, 10};
  }
  return "\n" + table.str(2);
}

std::string labelled(const char* label, const std::string& content) {
  std::string lines = wrap(content, nameColumn);
  const std::string head = "  " + padRight(label, nameColumn - 2);
  return lines.empty() ? "" : head + lines.substr(nameColumn);
}

// "; vCPUs had 12 .. 96 % of a host CPU, the host starved vCPU 1 for 3100 ms"
std::string hostShares(capnp::List<rpc::VcpuTime>::Reader vcpus) {
  if (vcpus.size() == 0) return "";
  double least = vcpus[0].getHostShare(), most = least;
  auto starved = vcpus[0];
  for (const auto vcpu : vcpus) {
    least = std::min(least, vcpu.getHostShare());
    most = std::max(most, vcpu.getHostShare());
    if (vcpu.getStarvedMs() > starved.getStarvedMs()) starved = vcpu;
  }
  std::string line =
      text("; vCPUs had ", std::lround(100 * least), " .. ", std::lround(100 * most), " % of a host CPU");
  if (starved.getStarvedMs() > 0) {
    line += text(", the host starved vCPU ", starved.getCpu(), " for ", milliseconds(starved.getStarvedMs()));
  }
  return line;
}

// "; 1.31 k/s schedules, 62 % of wakeups local, tasks waited 301 ms a second"
std::string scheduling(rpc::MonitorSummary::Reader seen) {
  std::string line;
  if (!std::isnan(seen.getSchedulesPerSecond()))
    line += "; " + rate(seen.getSchedulesPerSecond()) + " schedules";
  if (!std::isnan(seen.getLocalWakeupShare()))
    line += text(line.empty() ? "; " : ", ", percent(seen.getLocalWakeupShare()), " of wakeups local");
  if (!std::isnan(seen.getRunDelayMsPerSecond()))
    line += text(line.empty() ? "; " : ", ", "tasks waited ", milliseconds(seen.getRunDelayMsPerSecond()),
                 " a second");
  return line;
}

std::string monitorLine(rpc::MonitorSummary::Reader seen) {
  if (seen.getSamples() == 0) return labelled("monitor", "took no sample while the scenario ran");
  std::string line = text(seen.getValidSamples(), " of ", seen.getSamples(), " samples usable");
  if (seen.getScxEnabledSamples() > 0) {
    line += text("; sched_ext on in ", seen.getScxEnabledSamples());
    std::string names;
    for (const auto name : seen.getOpsNames()) names += (names.empty() ? "" : ", ") + clean(name);
    if (!names.empty()) line += " (" + names + ")";
    line += text("; local DSQ up to ", ratio(seen.getMaxLocalDsqDepth()));
  } else {
    line += "; sched_ext off";
  }
  line += text("; imbalance up to ", ratio(seen.getMaxImbalanceRatio()), "; ", seen.getStalledSamples(),
               " stalled; ", microseconds(seen.getMeanCostNs() / 1e3), " a sample");
  line += hostShares(seen.getVcpus());
  return labelled("monitor", line + scheduling(seen));
}

// "dispatch 12034 runs of 1.21 us, enqueue 9001 runs of 2.00 us and 3 missed, 7 more"
std::string programsLine(capnp::List<rpc::ProgramRuns>::Reader programs) {
  std::string line;
  for (unsigned i = 0; i < std::min(programs.size(), maxPrograms); ++i) {
    const auto program = programs[i];
    line += text(i == 0 ? "" : ", ", clean(program.getName()), " ", program.getRuns(), " runs of ",
                 microseconds(program.getNanosPerRun() / 1e3));
    if (program.getMisses() > 0) line += text(" and ", program.getMisses(), " missed");
  }
  if (programs.size() > maxPrograms) line += text(", ", programs.size() - maxPrograms, " more");
  return labelled("programs", line);
}

std::string phaseLine(capnp::List<rpc::Phase>::Reader phases) {
  std::string line;
  double end = 0;
  for (const auto phase : phases) {
    line += text(clean(phase.getName()), " ", milliseconds(phase.getDurationMs()), ", ");
    end = std::max(end, phase.getStartMs() + phase.getDurationMs());
  }
  return line.empty() ? "" : labelled("time", text(line, "in all ", milliseconds(end)));
}

// ".data:x=7 (was 0); watchdog 5000 ms (was 30000)": what was written into the scheduler. What was not is a
// finding.
std::string writesLine(rpc::RunRecord::Reader record) {
  std::string line;
  for (const auto write : record.getMapWrites()) {
    if (write.getFailure().size() == 0)
      line += text(line.empty() ? "" : "; ", clean(write.getAsked()), " (was ", write.getBefore(), ")");
  }
  for (const auto write : record.getWatchdog()) {
    if (write.getFailure().size() == 0)
      line += text(line.empty() ? "" : "; ", "watchdog ", write.getReadBackMs(), " ms (was ",
                   write.getBeforeMs(), ")");
  }
  return line.empty() ? "" : labelled("written", line);
}

// "early, late; failed not taken: no-monitor: ..."
std::string snapshotLine(capnp::List<rpc::SnapshotFacts>::Reader snapshots) {
  std::string taken, missing;
  for (const auto one : snapshots) {
    if (one.getFile().size() > 0)
      taken += (taken.empty() ? "" : ", ") + clean(one.getName());
    else
      missing += text("; ", clean(one.getName()), " not taken: ", clean(one.getFailure()));
  }
  if (taken.empty() && missing.empty()) return "";
  return labelled("dumps", taken.empty() ? missing.substr(2) : taken + missing);
}

}  // namespace

std::string renderRecord(rpc::RunRecord::Reader record, bool colour) {
  std::string out = headline(record, colour);
  for (const auto one : record.getVerdict().getFindings()) out += finding(one, colour);
  out += groupTable(record);
  out += baselineTable(record);
  const std::string timeline = renderTimeline(record, TimelineView::brief, colour);
  if (!timeline.empty()) out += "\n" + timeline;
  out += "\n" + monitorLine(record.getMonitor()) + programsLine(record.getMonitor().getPrograms()) +
         phaseLine(record.getPhases()) + writesLine(record);
  out += snapshotLine(record.getSnapshots());
  // Never broken: it is there to be copied.
  if (record.getDirectory().size() > 0)
    out += "  " + padRight("record", nameColumn - 2) + clean(record.getDirectory()) + "\n";
  return out;
}

}  // namespace ktstr
