#include <cmath>
#include <limits>

#include "orchestrator/render_text.h"

namespace ktstr::render {

namespace {

using Figures = std::vector<rpc::BaselineFigure::Reader>;  // of one work group

constexpr double none = std::numeric_limits<double>::quiet_NaN();

// The figures of a group follow each other.
std::vector<Figures> byGroup(capnp::List<rpc::BaselineFigure>::Reader all) {
  std::vector<Figures> groups;
  for (const auto figure : all) {
    const auto same = [&](const auto& other) {
      return figure.getStep() == other.getStep() && figure.getCgroup() == other.getCgroup() &&
             figure.getWork() == other.getWork();
    };
    if (groups.empty() || !same(groups.back().front())) groups.emplace_back();
    groups.back().push_back(figure);
  }
  return groups;
}

struct Column {
  const char* name;  // as in BaselineFigure
  const char* header;
  std::string (*show)(double value);
  bool difference;  // else a ratio
};
constexpr Column shown[] = {
    {"spreadPct", "spread", points, true},
    {"maxGapMs", "gap", milliseconds, false},
    {"p99WakeLatencyUs", "p99 wake", microseconds, false},
    {"meanRunDelayUs", "delay", microseconds, false},
    {"migrationRatio", "migr/iter", ratio, false},
    {"iterationsPerSecond", "iterations", rate, false},
};

std::string compared(const Column& column, double ours, double eevdf) {
  if (column.difference) return (ours > eevdf ? "+" : "") + points(ours - eevdf);
  const double times = eevdf > 0 ? ours / eevdf : none;
  return std::isnan(times) ? "-" : "x " + ratio(times);
}

}  // namespace

std::string baselineTable(rpc::RunRecord::Reader record) {
  if (record.getBaseline().size() == 0) return "";
  Table table;
  table.rows.push_back({"step", "cgroup", "work", "under"});
  table.rightAligned = {false, false, false, false};
  for (const Column& column : shown) {
    table.rows[0].push_back(column.header);
    table.rightAligned.push_back(true);
  }
  table.shrinkable = {0, 1, 2};
  for (const Figures& group : byGroup(record.getBaseline())) {
    std::vector<std::string> eevdf = {clean(group[0].getStep()), clean(group[0].getCgroup()),
                                      clean(group[0].getWork()), "EEVDF"};
    std::vector<std::string> ours = {"", "", "", clean(record.getScheduler())};
    for (const Column& column : shown) {
      double scheduler = none, baseline = none;
      for (const auto figure : group) {
        if (std::string(figure.getName()) != column.name) continue;
        scheduler = figure.getScheduler();
        baseline = figure.getBaseline();
      }
      eevdf.push_back(column.show(baseline));
      ours.push_back(compared(column, scheduler, baseline));
    }
    table.rows.push_back(std::move(eevdf));
    table.rows.push_back(std::move(ours));
  }
  return "\n  beside EEVDF, in the same machine:\n" + table.str(2);
}

}  // namespace ktstr::render
