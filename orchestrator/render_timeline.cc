#include "orchestrator/render_timeline.h"

#include <algorithm>
#include <cmath>

#include "orchestrator/render_text.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

using namespace render;

constexpr size_t indent = 2, noteIndent = 6;
constexpr size_t briefRows = 30;
constexpr unsigned briefCgroups = 4;  // more are not shown one by one

// ", after 12345 iterations"
std::string doneBefore(rpc::Stimulus::Reader stimulus) {
  if (std::isnan(stimulus.getIterations())) return "";
  return ", after " + count(static_cast<uint64_t>(std::clamp(stimulus.getIterations(), 0.0, 1e18))) +
         " iterations";
}

// "+1.25 s"
std::string moment(double ms) {
  return (ms < 0 ? "-" : "+") + milliseconds(std::abs(ms));
}

class Drawing {
 public:
  Drawing(rpc::RunRecord::Reader record, TimelineView view, bool colour)
      : phases_(record.getTimeline()), whole_(view == TimelineView::whole), colour_(colour) {
    table_.rows.push_back(
        {"at", "lasts", "phase", "scheduler", "iterations", "CPUs", "delay/s", "imbalance", "DSQ"});
    table_.rightAligned = {true, true, false, false, true, true, true, true, true};
    table_.shrinkable = {2, 3};
    for (const auto phase : phases_) {
      const size_t rows = 1 + (shown(phase) ? phase.getCgroups().size() : 0);
      if (!whole_ && table_.rows.size() + rows > briefRows) break;
      add(phase);
      drawn_++;
    }
  }

  // The table, and below the rows of each phase what is to be said of it.
  std::string str() const {
    std::string out = "  " + bold("timeline", colour_) + "\n";
    const std::string lines = table_.str(indent);
    size_t row = 0;
    for (size_t from = 0; from < lines.size(); row++) {
      const size_t end = lines.find('\n', from) + 1;
      out += lines.substr(from, end - from);
      if (row < notes_.size()) out += notes_[row];
      from = end;
    }
    return out;
  }
  unsigned left() const { return phases_.size() - drawn_; }

 private:
  bool shown(rpc::TimelinePhase::Reader phase) const {
    return whole_ || phase.getCgroups().size() <= briefCgroups;
  }

  void add(rpc::TimelinePhase::Reader phase) {
    addRow({moment(phase.getStartMs()), milliseconds(phase.getDurationMs()), clean(phase.getName()),
            clean(phase.getScheduler())},
           phase.getAll(), {ratio(phase.getMeanImbalanceRatio()), ratio(phase.getMeanLocalDsqDepth())});
    if (shown(phase)) {
      for (const auto figures : phase.getCgroups())
        addRow({"", "", "  " + clean(figures.getCgroup()), ""}, figures, {"", ""});
    }
    notes_.resize(table_.rows.size());
    notes_.back() = changes(phase) + (whole_ ? details(phase) : "");
  }

  void addRow(std::vector<std::string> row, rpc::PhaseFigures::Reader figures,
              const std::vector<std::string>& monitor) {
    row.push_back(rate(figures.getIterationsPerSecond()));
    row.push_back(ratio(figures.getCpuShare()));
    row.push_back(milliseconds(figures.getRunDelayMs()));
    row.insert(row.end(), monitor.begin(), monitor.end());
    table_.rows.push_back(std::move(row));
  }

  std::string note(const std::string& words) const {
    std::string lines = wrap(words, noteIndent);
    if (!lines.empty()) lines.pop_back();
    return lines.empty() ? "" : dim(lines, colour_) + "\n";
  }

  std::string changes(rpc::TimelinePhase::Reader phase) const {
    std::string words;
    for (const auto change : phase.getChanges()) words += (words.empty() ? "^ " : ", ") + clean(change);
    return note(words);
  }

  std::string details(rpc::TimelinePhase::Reader phase) const {
    std::string words = text(phase.getSamples(), " samples");
    if (!std::isnan(phase.getMeanNrRunning()))
      words += ", " + ratio(phase.getMeanNrRunning()) + " tasks to run on a CPU";
    if (phase.getStalledSamples() > 0) words += text(", ", phase.getStalledSamples(), " stalled");
    if (!std::isnan(phase.getFallbackRate())) words += ", fallback " + rate(phase.getFallbackRate());
    if (!std::isnan(phase.getKeepLastRate())) words += ", keep last " + rate(phase.getKeepLastRate());
    if (!std::isnan(phase.getSchedulesPerSecond()))
      words += ", " + rate(phase.getSchedulesPerSecond()) + " schedules";
    if (!std::isnan(phase.getLocalWakeupShare()))
      words += ", " + percent(phase.getLocalWakeupShare()) + " of wakeups local";
    if (!std::isnan(phase.getRunDelayMsPerSecond()))
      words += ", tasks waited " + milliseconds(phase.getRunDelayMsPerSecond()) + " a second";
    std::string out = note(words);
    for (const auto stimulus : phase.getStimuli()) {
      const std::string took = stimulus.getTookMs() > 0 ? ", took " + milliseconds(stimulus.getTookMs()) : "";
      out += note(text("> ", clean(stimulus.getKind()), stimulus.getDetail().size() > 0 ? " " : "",
                       clean(stimulus.getDetail()), " at ", moment(stimulus.getAtMs()), took,
                       doneBefore(stimulus)));
    }
    if (phase.getStimuliLeftOut() > 0) out += note(text("> and ", phase.getStimuliLeftOut(), " more"));
    if (phase.getCgroupsLeftOut() > 0) out += note(text("and ", phase.getCgroupsLeftOut(), " more cgroups"));
    return out;
  }

  capnp::List<rpc::TimelinePhase>::Reader phases_;
  bool whole_, colour_;
  Table table_;
  std::vector<std::string> notes_;  // by row of the table
  unsigned drawn_ = 0;
};

}  // namespace

std::string renderTimeline(rpc::RunRecord::Reader record, TimelineView view, bool colour) {
  if (view == TimelineView::brief && record.getTimeline().size() < 2) return "";
  if (record.getTimeline().size() == 0) return "  the run has no timeline: its scenario never began\n";
  const Drawing drawing(record, view, colour);
  std::string out = drawing.str();
  if (drawing.left() > 0) {
    out += dim(text("      ... and ", drawing.left(), drawing.left() == 1 ? " more phase" : " more phases"),
               colour) +
           "\n";
    out += dim("      all of it: ktstr record show " + clean(record.getId()) + " --timeline", colour) + "\n";
  }
  return out;
}

}  // namespace ktstr
