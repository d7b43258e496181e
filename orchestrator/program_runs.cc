#include "orchestrator/program_runs.h"

#include <algorithm>
#include <utility>

#include "orchestrator/console.h"

namespace ktstr {

void ProgramWatch::add(rpc::Sample::Reader sample, bool counts) {
  const bool first = !std::exchange(any_, true);
  for (const auto program : sample.getProgs()) {
    const ProgramRuns now{cleanText(program.getName().cStr()), program.getRuns(), program.getNanos(),
                          program.getMisses()};
    const auto known = last_.find(program.getId());
    if (known == last_.end() && last_.size() == limit) continue;
    const ProgramRuns was = known != last_.end() ? known->second : first ? now : ProgramRuns{};
    last_[program.getId()] = now;
    if (!counts || now.runs < was.runs || now.nanos < was.nanos || now.misses < was.misses) continue;
    ProgramRuns& sum = sums_[now.name];
    sum.runs += now.runs - was.runs;
    sum.nanos += now.nanos - was.nanos;
    sum.misses += now.misses - was.misses;
  }
}

std::vector<ProgramRuns> ProgramWatch::runs() const {
  std::vector<ProgramRuns> list;
  for (const auto& [name, sum] : sums_) {
    if (sum.runs > 0 || sum.misses > 0) list.push_back({name, sum.runs, sum.nanos, sum.misses});
  }
  std::stable_sort(list.begin(), list.end(), [](auto& a, auto& b) { return a.nanos > b.nanos; });
  return list;
}

void writeProgramRuns(const std::vector<ProgramRuns>& runs, rpc::MonitorSummary::Builder out) {
  auto list = out.initPrograms(static_cast<unsigned>(runs.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setName(runs[i].name);
    list[i].setRuns(runs[i].runs);
    list[i].setMisses(runs[i].misses);
    if (runs[i].runs > 0)
      list[i].setNanosPerRun(static_cast<double>(runs[i].nanos) / static_cast<double>(runs[i].runs));
  }
}

}  // namespace ktstr
