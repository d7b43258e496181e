#include "orchestrator/library/crash.h"

#include <algorithm>
#include <cmath>

#include "guest/scenario/snapshot_times.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint32_t mostSnapshots = 16;

std::string describeSnapshots(const RunResult& run) {
  std::string names;
  for (const auto taken : run.record().getSnapshots()) {
    if (taken.getFile().size() == 0) continue;
    names += text(names.empty() ? "\n  snapshots: " : ", ", taken.getName().cStr());
    if (!std::isnan(taken.getAtMs())) names += text(" at ", static_cast<int64_t>(taken.getAtMs()), " ms");
  }
  return names;
}

// As the kernel kept it, and the monitor read it before it was freed.
std::string describeExit(const RunResult& run) {
  try {
    const Snapshot dump = run.snapshot("scheduler-error");
    const auto exit = dump.record().getScheduler().getExit();
    std::string lines = text("\n  ", exit.getKindName().cStr(), " (", exit.getReason().cStr(), ") ",
                             exit.getMessage().cStr());
    for (const auto frame : exit.getBacktrace()) lines += text("\n    ", frame.cStr());
    return lines;
  } catch (const Error& error) {
    return text("\n  the kernel's reason was not seen: ", error.what());
  }
}

std::string describePrograms(const RunResult& run) {
  std::string lines;
  for (const auto program : run.record().getMonitor().getPrograms()) {
    lines += text(lines.empty() ? "\n  the scheduler's BPF programs:" : "", "\n    ",
                  program.getName().cStr(), ": ", program.getRuns(), " runs");
    if (!std::isnan(program.getNanosPerRun()))
      lines += text(" of ", static_cast<int64_t>(program.getNanosPerRun()), " ns");
  }
  return lines;
}

}  // namespace

std::string crashOf(const RunResult& run) {
  for (const auto finding : run.record().getVerdict().getFindings()) {
    std::string name = finding.getName().cStr();
    if (finding.getOutcome() == rpc::Outcome::FAIL &&
        (name == "scheduler-exited" || name == "scheduler-stalled"))
      return name;
  }
  return "";
}

uint32_t snapshotsBeforeCrash(rpc::Scenario::Reader scenario) {
  if (scenario.getSnapshots() != 0) return scenario.getSnapshots();
  // In the middle 80 %, with one space more than there are snapshots.
  const uint64_t spaces = plannedMs(scenario) * 8 / 10 / snapshotSpacingMs;
  return spaces == 0 ? 0 : static_cast<uint32_t>(std::min<uint64_t>(spaces - 1, mostSnapshots));
}

std::string describeCrash(const RunResult& first, const RunResult& again) {
  const std::string was = crashOf(first), is = crashOf(again);
  const RunResult& shown = is.empty() ? first : again;
  std::string story = text(
      "\nautoRepro: run once more, it ",
      is == was ? text("is ", is, " again")
                : text("is ", is.empty() ? kj::str(again.outcome()).cStr() : is.c_str(), " instead of ", was),
      "; the record is in ", again.record().getDirectory().cStr());
  story += text("\nof the ", &shown == &first ? "first" : "second", " run:");
  return story + describeExit(shown) + describeSnapshots(shown) + describePrograms(shown);
}

}  // namespace ktstr
