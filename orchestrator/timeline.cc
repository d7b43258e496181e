#include "orchestrator/timeline.h"

#include <algorithm>
#include <limits>
#include <map>

#include "orchestrator/schedulers.h"
#include "orchestrator/stats.h"
#include "orchestrator/timeline_changes.h"
#include "orchestrator/timeline_figures.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Event = rpc::GuestEvent;

constexpr size_t namedStimuli = 3;

struct PhaseStory {
  std::string name, step, scheduler;
  bool baseline = false;
  uint64_t fromNs = 0, toNs = 0;
  Change change;  // that began it
  std::vector<LoopOperations> loops;
  WorkByCgroup work;
  MonitorFigures monitor;
  std::vector<std::string> changes;
};

class Builder {
 public:
  explicit Builder(const TimelineInput& input)
      : input_(input),
        story_(readStimuli(input.scenario, input.events)),
        changes_(groupStimuli(story_.stimuli, uint64_t{input.periodMs} * 1'000'000, maxPhases)),
        attached_(attachedTimes(input.events)) {
    for (size_t i = 0; i < changes_.size(); i++) {
      follow(changes_[i]);
      if (i + 1 < changes_.size() || !ends(changes_[i]) || hasOperation(changes_[i])) addPhase(i);
    }
  }

  const StimulusStory& story() const { return story_; }
  const std::vector<PhaseStory>& phases() const { return phases_; }

 private:
  std::span<const StimulusEvent> stimuliOf(const Change& change) const {
    return std::span(story_.stimuli).subspan(change.first, change.count);
  }

  bool ends(const Change& change) const {
    const auto last = stimuliOf(change).back().event;
    return last.isScenarioEnded() || last.isDone();
  }

  bool hasOperation(const Change& change) const {
    const auto stimuli = stimuliOf(change);
    return std::any_of(stimuli.begin(), stimuli.end(),
                       [](const StimulusEvent& stimulus) { return stimulus.event.isOpApplied(); });
  }

  // What the change makes of the step and the run.
  void follow(const Change& change) {
    startedStep_ = false;
    for (const StimulusEvent& stimulus : stimuliOf(change)) {
      if (stimulus.event.isBaselineStarted()) baseline_ = true;
      if (stimulus.event.isStepStarted()) {
        step_ = stepNameOf(input_.scenario, stimulus.event.getStepStarted().getStep());
        startedStep_ = inStep_ = true;
      }
      if (stimulus.event.isStepEnded()) startedStep_ = inStep_ = false;
    }
  }

  void addPhase(size_t index) {
    const Change& change = changes_[index];
    const bool last = index + 1 == changes_.size();
    PhaseStory phase;
    phase.change = change;
    phase.fromNs = change.toNs;
    phase.toNs = last ? endOfAll(change) : changes_[index + 1].fromNs;
    phase.step = inStep_ ? step_ : "";
    phase.baseline = baseline_;
    phase.name = uniqueName(nameOf(change));
    phase.scheduler = schedulerAt(phase.fromNs);
    phase.loops = loopsIn(phase.fromNs, phase.toNs);
    fillWork(change, last ? nullptr : &changes_[index + 1], phase);
    phase.monitor = monitorFigures(samplesIn(phase.fromNs, phase.toNs));
    if (!phases_.empty()) {
      phase.changes = changesOf(phases_.back().work, phase.work);
      const auto more = changesOf(phases_.back().monitor, phase.monitor);
      phase.changes.insert(phase.changes.end(), more.begin(), more.end());
    }
    phases_.push_back(std::move(phase));
  }

  // Of a scenario whose end was not told: the last that was seen of the guest.
  uint64_t endOfAll(const Change& change) const {
    if (ends(change)) return change.toNs;
    uint64_t end = std::max(change.toNs, story_.lastEventNs);
    if (input_.clock && !input_.samples.empty())
      end = std::max(end, input_.clock->guestNs(input_.samples.back().atNs));
    return end;
  }

  std::string nameOf(const Change& change) const {
    const std::string run = baseline_ ? "baseline: " : "";
    if (startedStep_) return run + step_;
    std::vector<std::string> operations, others;
    for (const StimulusEvent& stimulus : stimuliOf(change)) {
      const std::string detail = stimulusDetail(input_.scenario, stimulus.event);
      auto& list = stimulus.event.isOpApplied() ? operations : others;
      if (list.size() > namedStimuli) continue;
      const std::string kind = stimulusKind(stimulus.event);
      list.push_back(stimulus.event.isOpApplied() ? detail : text(kind, detail.empty() ? "" : " ", detail));
    }
    if (!inStep_) return run + (step_.empty() ? "start" : "after " + step_);
    const auto& list = operations.empty() ? others : operations;
    std::string words;
    for (size_t i = 0; i < std::min(list.size(), namedStimuli); i++) words += (i == 0 ? "" : ", ") + list[i];
    return run + step_ + ": " + words + (list.size() > namedStimuli ? ", ..." : "");
  }

  std::string uniqueName(const std::string& name) {
    const uint32_t times = ++names_[name];
    return times == 1 ? name : text(name, " (", times, ')');
  }

  std::string schedulerAt(uint64_t atNs) const {
    std::string name = "eevdf";
    for (const AttachedTime& time : attached_) {
      if (time.fromNs <= atNs && (!time.toNs || *time.toNs > atNs)) name = time.opsName;
    }
    return name;
  }

  std::vector<LoopOperations> loopsIn(uint64_t fromNs, uint64_t toNs) const {
    std::vector<LoopOperations> in;
    for (const LoopOperations& loop : story_.loops) {
      if (loop.fromNs >= fromNs && loop.fromNs <= toNs && in.size() < maxPhaseStimuli) in.push_back(loop);
    }
    return in;
  }

  void fillWork(const Change& change, const Change* next, PhaseStory& phase) {
    const double seconds = static_cast<double>(phase.toNs - phase.fromNs) / 1e9;
    const StimulusEvent& began = story_.stimuli[change.earliest];
    const Progress start = stimuliOf(change).back().event.getProgress();
    if (next == nullptr) {
      phase.work[""];
    } else {
      phase.work = workBetween(start, story_.stimuli[next->earliest].before(), seconds);
    }
    addChangeIterations(began.before(), start, phase.work);
  }

  std::span<const TimelineSample> samplesIn(uint64_t fromNs, uint64_t toNs) const {
    if (!input_.clock) return {};
    const ClockOffset& clock = *input_.clock;
    const uint64_t error = clock.errorNs;
    const auto certainlyBefore = [&](const TimelineSample& sample, uint64_t atNs) {
      return clock.guestNs(sample.atNs) < atNs;
    };
    if (error > toNs || fromNs > std::numeric_limits<uint64_t>::max() - error ||
        fromNs + error > toNs - error)
      return {};
    const auto first =
        std::lower_bound(input_.samples.begin(), input_.samples.end(), fromNs + error, certainlyBefore);
    const auto end = std::lower_bound(first, input_.samples.end(), toNs - error, certainlyBefore);
    return {first, end};
  }

  const TimelineInput& input_;
  StimulusStory story_;
  std::vector<Change> changes_;
  std::vector<AttachedTime> attached_;
  std::vector<PhaseStory> phases_;
  std::map<std::string, uint32_t> names_;
  std::string step_;
  bool startedStep_ = false, inStep_ = false, baseline_ = false;
};

double orNan(const std::optional<double>& value) {
  return value.value_or(std::numeric_limits<double>::quiet_NaN());
}

class Writer {
 public:
  Writer(const TimelineInput& input, const StimulusStory& story) : input_(input), story_(story) {}

  void write(const PhaseStory& phase, rpc::TimelinePhase::Builder out) const {
    out.setName(phase.name);
    out.setStep(phase.step);
    out.setScheduler(phase.scheduler);
    out.setBaseline(phase.baseline);
    out.setStartMs(sinceStart(phase.fromNs));
    out.setDurationMs(milliseconds(phase.toNs - phase.fromNs));
    out.setChangeMs(milliseconds(phase.change.toNs - phase.change.fromNs));
    writeStimuli(phase, out);
    writeWork(phase.work, out);
    writeMonitor(phase.monitor, out);
    auto changes = out.initChanges(static_cast<unsigned>(std::min(phase.changes.size(), maxPhaseCgroups)));
    for (unsigned i = 0; i < changes.size(); i++) changes.set(i, phase.changes[i]);
  }

 private:
  static double milliseconds(uint64_t ns) { return static_cast<double>(ns) / 1e6; }
  double sinceStart(uint64_t atNs) const { return milliseconds(atNs - story_.stimuli.front().toNs); }

  void writeStimuli(const PhaseStory& phase, rpc::TimelinePhase::Builder out) const {
    const size_t kept = std::min(phase.change.count, maxPhaseStimuli);
    out.setStimuliLeftOut(static_cast<uint32_t>(phase.change.count - kept));
    auto list = out.initStimuli(static_cast<unsigned>(kept + phase.loops.size()));
    unsigned at = 0;
    const auto write = [&](const std::string& kind, const std::string& detail, uint64_t fromNs, uint64_t toNs,
                           std::optional<double> iterations) {
      list[at].setIterations(orNan(iterations));
      list[at].setKind(kind);
      list[at].setDetail(detail);
      list[at].setAtMs(sinceStart(toNs));
      list[at++].setTookMs(milliseconds(toNs - fromNs));
    };
    for (size_t i = 0; i < kept; i++) {
      const StimulusEvent& stimulus = story_.stimuli[phase.change.first + i];
      write(stimulusKind(stimulus.event), stimulusDetail(input_.scenario, stimulus.event), stimulus.fromNs,
            stimulus.toNs, stimulus.iterations);
    }
    for (const LoopOperations& loop : phase.loops)
      write("loop", text(loop.count, " operations, again and again"), loop.fromNs, loop.toNs, {});
  }

  static void writeWork(const WorkByCgroup& work, rpc::TimelinePhase::Builder out) {
    const size_t cgroups = work.size() - 1, kept = std::min(cgroups, maxPhaseCgroups);
    out.setCgroupsLeftOut(static_cast<uint32_t>(cgroups - kept));
    auto list = out.initCgroups(static_cast<unsigned>(kept));
    unsigned at = 0;
    for (const auto& [cgroup, figures] : work) {
      if (cgroup.empty()) {
        writeFigures("", figures, out.initAll());
      } else if (at < kept) {
        writeFigures(cgroup, figures, list[at++]);
      }
    }
  }

  static void writeFigures(const std::string& cgroup, const WorkFigures& figures,
                           rpc::PhaseFigures::Builder out) {
    out.setCgroup(cgroup);
    out.setWorkers(figures.workers);
    out.setIterationsPerSecond(orNan(figures.iterationsPerSecond));
    out.setCpuShare(orNan(figures.cpuShare));
    out.setRunDelayMs(orNan(figures.runDelayMs));
    out.setIterations(figures.iterations);
    out.setChangeIterations(figures.changeIterations);
  }

  static void writeMonitor(const MonitorFigures& seen, rpc::TimelinePhase::Builder out) {
    out.setSamples(seen.samples);
    out.setStalledSamples(seen.stalledSamples);
    out.setMaxImbalanceRatio(orNan(seen.maxImbalance));
    out.setMeanImbalanceRatio(orNan(seen.imbalance));
    out.setMaxLocalDsqDepth(orNan(seen.maxDsqDepth));
    out.setMeanLocalDsqDepth(orNan(seen.dsqDepth));
    out.setMeanNrRunning(orNan(seen.nrRunning));
    out.setFallbackRate(orNan(seen.fallbackRate));
    out.setKeepLastRate(orNan(seen.keepLastRate));
    out.setRunDelayMsPerSecond(orNan(seen.schedstat.runDelayMsPerSecond()));
    out.setSchedulesPerSecond(orNan(seen.schedstat.schedulesPerSecond()));
    out.setLocalWakeupShare(orNan(seen.schedstat.localWakeupShare()));
  }

  const TimelineInput& input_;
  const StimulusStory& story_;
};

}  // namespace

void writeTimeline(const TimelineInput& input, rpc::RunRecord::Builder record) {
  const Builder built(input);
  const Writer writer(input, built.story());
  auto list = record.initTimeline(static_cast<unsigned>(built.phases().size()));
  for (unsigned i = 0; i < list.size(); i++) writer.write(built.phases()[i], list[i]);
}

}  // namespace ktstr
