#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "orchestrator/render.h"
#include "orchestrator/render_text.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

using namespace render;

constexpr double none = std::numeric_limits<double>::quiet_NaN();
constexpr size_t labelWidth = 24;
constexpr size_t narrowestColumn = 12;
constexpr size_t widestColumn = 26;

using Record = rpc::RunRecord::Reader;

// The largest of a figure over the groups that have it.
double worst(Record record, const std::function<double(rpc::GroupStats::Reader)>& figure) {
  double found = none;
  for (const auto group : record.getGroups()) {
    const double value = figure(group);
    if (!std::isnan(value) && !(found >= value)) found = value;
  }
  return found;
}

double throughput(Record record) {
  double sum = none;
  for (const auto group : record.getGroups()) {
    const double value = group.getIterationsPerSecond();
    if (!std::isnan(value)) sum = std::isnan(sum) ? value : sum + value;
  }
  return sum;
}

std::string migrations(Record record) {
  uint64_t sum = 0;
  for (const auto group : record.getGroups()) sum += group.getMigrations();
  return record.getGroups().size() == 0 ? "-" : count(sum);
}

std::string reason(Record record) {
  for (const auto finding : record.getVerdict().getFindings()) {
    if (finding.getOutcome() != rpc::Outcome::PASS) return clean(finding.getName());
  }
  return "";
}

std::string scxShare(Record record) {
  const auto seen = record.getMonitor();
  if (seen.getValidSamples() == 0) return "-";
  return text((100 * seen.getScxEnabledSamples() + seen.getValidSamples() / 2) / seen.getValidSamples(),
              " %");
}

std::string opsNames(Record record) {
  std::string names;
  for (const auto name : record.getMonitor().getOpsNames()) names += (names.empty() ? "" : ",") + clean(name);
  return names.empty() ? "-" : names;
}

std::string phaseTime(Record record, const std::string& name) {
  double sum = none;
  for (const auto phase : record.getPhases()) {
    if (clean(phase.getName()) == name)
      sum = std::isnan(sum) ? phase.getDurationMs() : sum + phase.getDurationMs();
  }
  return milliseconds(sum);
}

std::string wholeTime(Record record) {
  double end = none;
  for (const auto phase : record.getPhases()) {
    const double ends = phase.getStartMs() + phase.getDurationMs();
    if (!(end >= ends)) end = ends;
  }
  return milliseconds(end);
}

// A line of the table; without `cell` a heading.
struct Line {
  std::string label;
  std::function<std::string(Record)> cell;
};

std::vector<Line> figureLines() {
  return {
      {"", [](Record r) { return reason(r); }},
      {"fairness spread, worst",
       [](Record r) { return points(worst(r, [](auto g) { return g.getSpreadPct(); })); }},
      {"longest gap",
       [](Record r) { return milliseconds(worst(r, [](auto g) { return g.getMaxGapMs(); })); }},
      {"p99 wake latency, worst",
       [](Record r) { return microseconds(worst(r, [](auto g) { return g.getP99WakeLatencyUs(); })); }},
      {"migrations", migrations},
      {"iterations, all workers", [](Record r) { return rate(throughput(r)); }},
      {"monitor saw", {}},
      {"  usable samples",
       [](Record r) { return text(r.getMonitor().getValidSamples(), " of ", r.getMonitor().getSamples()); }},
      {"  sched_ext enabled", scxShare},
      {"  scheduler (ops)", opsNames},
      {"  deepest local DSQ", [](Record r) { return ratio(r.getMonitor().getMaxLocalDsqDepth()); }},
      {"  highest imbalance", [](Record r) { return ratio(r.getMonitor().getMaxImbalanceRatio()); }},
      {"  stalled samples",
       [](Record r) {
         return r.getMonitor().getSamples() == 0 ? "-" : count(r.getMonitor().getStalledSamples());
       }},
  };
}

std::vector<Line> timeLines(std::span<const Record> records) {
  std::vector<Line> lines = {{"time", {}}};
  for (const Record& record : records) {
    for (const auto phase : record.getPhases()) {
      const std::string name = clean(phase.getName());
      const auto same = [&](const Line& line) { return line.label == "  " + name; };
      if (std::any_of(lines.begin(), lines.end(), same)) continue;
      lines.push_back({"  " + name, [name](Record r) { return phaseTime(r, name); }});
    }
  }
  lines.push_back({"  whole run", wholeTime});
  return lines;
}

std::string heading(std::span<const Record> records, bool colour) {
  const Record first = records.front();
  std::string out = bold(clean(first.getScenario()), colour);
  const auto add = [&](const char* word, const std::string& value) {
    if (!value.empty()) out += word + value;
  };
  add(" on ", clean(first.getTopology()));
  add(", kernel ", clean(first.getKernel().getRelease()));
  add(", ", clean(first.getAccelerator()));
  return out + "\n";
}

std::string renderColumns(std::span<const Record> records, const std::vector<Line>& lines,
                          const std::vector<size_t>& widths, bool colour) {
  std::string out = std::string(labelWidth, ' ');
  for (size_t i = 0; i < records.size(); ++i)
    out += "  " + bold(padLeft(clean(records[i].getScheduler()), widths[i]), colour);
  size_t ruled = labelWidth;
  for (const size_t one : widths) ruled += 2 + one;
  out += "\n" + dim(std::string(ruled, '-'), colour) + "\n" + padRight("verdict", labelWidth);
  for (size_t i = 0; i < records.size(); ++i) {
    const auto outcome = records[i].getVerdict().getOutcome();
    out += "  " + paint(padLeft(outcomeWord(outcome), widths[i]), outcome, colour);
  }
  out += "\n";
  for (const Line& line : lines) {
    std::string row = padRight(line.label, labelWidth);
    for (size_t i = 0; line.cell && i < records.size(); ++i)
      row += "  " + padLeft(line.cell(records[i]), widths[i]);
    row.erase(row.find_last_not_of(' ') + 1);
    if (!line.cell) row = "\n" + bold(row, colour);
    if (!row.empty()) out += row + "\n";
  }
  return out;
}

std::vector<size_t> columnWidths(std::span<const Record> records, const std::vector<Line>& lines) {
  std::vector<size_t> widths;
  for (const Record& record : records) {
    size_t wide = std::max({narrowestColumn, width(clean(record.getScheduler())),
                            width(outcomeWord(record.getVerdict().getOutcome()))});
    for (const Line& line : lines) {
      if (line.cell) wide = std::max(wide, width(line.cell(record)));
    }
    widths.push_back(std::min(wide, widestColumn));
  }
  return widths;
}

}  // namespace

std::string renderComparison(std::span<const Record> records, bool colour) {
  if (records.empty()) return "";
  std::vector<Line> lines = figureLines();
  for (Line& line : timeLines(records)) lines.push_back(std::move(line));
  const std::vector<size_t> widths = columnWidths(records, lines);

  std::string out = heading(records, colour);
  for (size_t from = 0; from < records.size();) {
    size_t end = from, used = labelWidth;
    while (end < records.size() && (end == from || used + 2 + widths[end] <= columns))
      used += 2 + widths[end++];
    const std::vector<size_t> part(widths.begin() + static_cast<ptrdiff_t>(from),
                                   widths.begin() + static_cast<ptrdiff_t>(end));
    out += "\n" + renderColumns(records.subspan(from, end - from), lines, part, colour);
    from = end;
  }
  const bool stored = std::any_of(records.begin(), records.end(),
                                  [](const Record& r) { return r.getDirectory().size() > 0; });
  if (stored) out += "\nrecords\n";
  for (const Record& record : records) {
    if (record.getDirectory().size() > 0)
      out += "  " + padRight(clean(record.getScheduler()), 14) + "  " + clean(record.getDirectory()) + "\n";
  }
  return out;
}

}  // namespace ktstr
