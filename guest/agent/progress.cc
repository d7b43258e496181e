#include "guest/agent/progress.h"

#include <map>
#include <unordered_map>

#include "guest/work/schedstat.h"

namespace ktstr::agent {
namespace {

void addTimes(const Worker& worker, GroupReading& group) {
  const auto times = worker.exit || worker.tid() <= 0 ? std::nullopt : work::schedstatOf(worker.tid());
  group.timesValid = group.timesValid && times;
  if (!times) return;
  group.cpuNs += times->cpuNs;
  group.runDelayNs += times->runDelayNs;
}

void add(GroupReading& to, const GroupReading& from) {
  to.workers += from.workers;
  to.iterations += from.iterations;
  to.cpuNs += from.cpuNs;
  to.runDelayNs += from.runDelayNs;
  to.timesValid = to.timesValid && from.timesValid;
}

std::vector<GroupReading> mergeBy(const std::vector<GroupReading>& groups,
                                  const std::function<std::string(const GroupReading&)>& name) {
  std::map<std::string, GroupReading> merged;
  for (const GroupReading& group : groups) {
    const auto [at, added] = merged.try_emplace(name(group));
    GroupReading& into = at->second;
    if (added) {
      into.cgroup = at->first;
      into.timesValid = true;
    }
    add(into, group);
  }
  std::vector<GroupReading> list;
  for (auto& [key, group] : merged) list.push_back(std::move(group));
  return list;
}

void write(const std::vector<GroupReading>& groups, capnp::List<rpc::GroupProgress>::Builder out) {
  for (unsigned i = 0; i < out.size(); i++) {
    const GroupReading& group = groups[i];
    out[i].setStep(group.step);
    out[i].setCgroup(group.cgroup);
    out[i].setWork(group.work);
    out[i].setWorkers(group.workers);
    out[i].setIterations(group.iterations);
    out[i].setCpuNs(group.cpuNs);
    out[i].setRunDelayNs(group.runDelayNs);
    out[i].setTimesValid(group.timesValid);
  }
}

}  // namespace

std::vector<GroupReading> mergeReadings(const std::vector<GroupReading>& groups, size_t limit) {
  if (groups.size() <= limit) return groups;
  auto merged = mergeBy(groups, [](const GroupReading& group) { return group.cgroup; });
  return merged.size() <= limit ? merged : mergeBy(groups, [](const GroupReading&) { return "*"; });
}

ProgressReading readProgress(const std::vector<Worker>& workers) {
  ProgressReading reading;
  reading.atNs = monotonicNs();
  const bool timed = workers.size() <= maxTimedWorkers;
  std::unordered_map<const work::WorkGroup*, size_t> known;
  for (const Worker& worker : workers) {
    const auto [at, added] = known.try_emplace(worker.group.get(), reading.groups.size());
    if (added) reading.groups.push_back({worker.step, worker.cgroup, worker.work, 0, 0, 0, 0, timed});
    GroupReading& group = reading.groups[at->second];
    group.workers += worker.exit ? 0 : 1;
    group.iterations += worker.page().iterations.load(std::memory_order_relaxed);
  }
  for (const Worker& worker : workers) {
    if (timed) addTimes(worker, reading.groups[known.at(worker.group.get())]);
  }
  reading.groups = mergeReadings(reading.groups, maxProgressGroups);
  return reading;
}

void ProgressReading::writeProgress(rpc::GuestEvent::Builder event) const {
  write(groups, event.initProgress(static_cast<unsigned>(groups.size())));
}

void ProgressReading::writeBefore(rpc::GuestEvent::Builder event) const {
  event.setBeganNs(atNs);
  write(groups, event.initBefore(static_cast<unsigned>(groups.size())));
}

}  // namespace ktstr::agent
