#include <sys/wait.h>

#include <algorithm>
#include <cstring>

#include "guest/agent/workers.h"

namespace ktstr::agent {
namespace {

constexpr auto relaxed = std::memory_order_relaxed;

uint64_t nanoseconds(const timeval& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_usec) * 1000;
}

void fillCpus(const work::WorkerPage& page, rpc::WorkerReport::Builder report) {
  std::vector<uint32_t> cpus;
  std::vector<uint64_t> since;
  for (uint32_t cpu = 0; cpu < work::maxCpus; cpu++) {
    if ((page.cpusSeen[cpu / 64].load(relaxed) >> (cpu % 64) & 1) == 0) continue;
    cpus.push_back(cpu);
    since.push_back(page.firstSeenNs[cpu].load(relaxed));
  }
  report.setCpusSeen(kj::arrayPtr(cpus.data(), cpus.size()));
  report.setFirstSeenNs(kj::arrayPtr(since.data(), since.size()));
}

std::vector<size_t> usedBuckets(const work::Histogram& histogram) {
  std::vector<size_t> used;
  for (size_t bucket = 0; bucket < work::Histogram::buckets; bucket++) {
    if (histogram.count(bucket) > 0) used.push_back(bucket);
  }
  return used;
}

void fill(const work::Histogram& histogram, const std::vector<size_t>& used,
          capnp::List<rpc::HistogramBucket>::Builder out) {
  for (unsigned i = 0; i < out.size(); i++) {
    out[i].setUpperNs(work::Histogram::upperOf(used[i]));
    out[i].setCount(histogram.count(used[i]));
  }
}

void fillHistograms(const work::WorkerPage& page, rpc::WorkerReport::Builder report) {
  const std::vector<size_t> wakes = usedBuckets(page.wakeLatency), operations = usedBuckets(page.opDuration);
  fill(page.wakeLatency, wakes, report.initWakeLatency(static_cast<unsigned>(wakes.size())));
  fill(page.opDuration, operations, report.initOpDuration(static_cast<unsigned>(operations.size())));
  report.setWakeSamples(page.wakeSamples.load(relaxed));
  report.setMaxWakeNs(page.maxWakeNs.load(relaxed));
  report.setMaxWakeAtNs(page.maxWakeAtNs.load(relaxed));
  report.setMaxWakeCpu(page.maxWakeCpu.load(relaxed));
  report.setOpSamples(page.opSamples.load(relaxed));
}

void fillPages(const work::WorkerPage& page, rpc::WorkerReport::Builder report) {
  std::vector<uint32_t> nodes;
  for (uint32_t node = 0; node < work::maxNumaNodes; node++) {
    if (page.numaPages[node].load(relaxed) > 0) nodes.push_back(node);
  }
  auto out = report.initNumaPages(static_cast<unsigned>(nodes.size()));
  for (unsigned i = 0; i < out.size(); i++) {
    out[i].setNode(nodes[i]);
    out[i].setPages(page.numaPages[nodes[i]].load(relaxed));
  }
}

// A text of the worker's, who may have died while he wrote it.
template <size_t size>
std::string boundedText(const char (&from)[size]) {
  return {from, strnlen(from, size)};
}

void fillCounts(const work::WorkerPage& page, rpc::WorkerReport::Builder report) {
  report.setIterations(page.iterations.load(relaxed));
  report.setWorkUnits(page.workUnits.load(relaxed));
  report.setEvents(page.events.load(relaxed));
  report.setMigrations(page.migrations.load(relaxed));
  report.setErrors(page.errors.load(relaxed));
  report.setLastErrno(page.lastErrno.load(relaxed));
  report.setLastErrorCall(boundedText(page.lastErrorCall));
  report.setDetail(boundedText(page.detail));
}

// A worker that ended by itself knows all its figures; of another process the kernel knows some.
void fillUsage(const Worker& worker, rpc::WorkerReport::Builder report) {
  const work::WorkerPage& page = worker.page();
  if (worker.finished()) {
    report.setCpuNs(page.cpuNs.load(relaxed));
    report.setRunDelayNs(page.runDelayNs.load(relaxed));
    report.setTimeslices(page.timeslices.load(relaxed));
    report.setRunDelayValid(page.runDelayValid.load(relaxed) != 0);
    report.setVoluntarySwitches(page.voluntarySwitches.load(relaxed));
    report.setInvoluntarySwitches(page.involuntarySwitches.load(relaxed));
    report.setMinorFaults(page.minorFaults.load(relaxed));
    report.setMajorFaults(page.majorFaults.load(relaxed));
    report.setKernelMigrations(page.kernelMigrations.load(relaxed));
    report.setKernelMigrationsValid(page.kernelMigrationsValid.load(relaxed) != 0);
    report.setNumaPagesMigrated(page.numaPagesMigrated.load(relaxed));
    report.setNumaPagesMigratedValid(page.numaPagesMigratedValid.load(relaxed) != 0);
  } else if (worker.exit && !worker.shared) {
    const rusage& usage = worker.exit->usage;
    report.setCpuNs(nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime));
    report.setVoluntarySwitches(static_cast<uint64_t>(usage.ru_nvcsw));
    report.setInvoluntarySwitches(static_cast<uint64_t>(usage.ru_nivcsw));
    report.setMinorFaults(static_cast<uint64_t>(usage.ru_minflt));
    report.setMajorFaults(static_cast<uint64_t>(usage.ru_majflt));
  } else {
    report.setUsageValid(false);
  }
}

// How long it took to stop, and what of that it spent in the queue of a CPU.
void fillStop(const Worker& worker, rpc::WorkerReport::Builder report) {
  const work::WorkerPage& page = worker.page();
  if (!worker.finished() || worker.toldNs == 0) return;
  const uint64_t end = page.endNs.load(relaxed), told = worker.toldNs;
  const uint64_t stopNs = end > told ? end - told : 1;
  report.setStopNs(stopNs);
  if (!worker.toldRunDelayNs || page.runDelayValid.load(relaxed) == 0) return;
  const uint64_t before = *worker.toldRunDelayNs, after = page.endRunDelayNs.load(relaxed);
  report.setStopDelayNs(std::min(stopNs, after - std::min(after, before)));
  report.setStopDelayValid(true);
}

// The time since the last checkpoint is a gap as well for a worker that never came to the next one.
void fillTimes(const Worker& worker, rpc::WorkerReport::Builder report) {
  const work::WorkerPage& page = worker.page();
  const bool finished = worker.finished();
  const uint64_t go = page.goNs.load(relaxed);
  const uint64_t end = finished ? page.endNs.load(relaxed) : worker.endedNs;
  report.setWallNs(go != 0 && end > go ? end - go : 0);
  uint64_t gap = page.maxGapNs.load(relaxed), at = page.maxGapAtNs.load(relaxed);
  const uint64_t last = std::max(go, page.checkpointNs.load(relaxed));
  if (!finished && go != 0 && page.blocked.load(relaxed) == 0 && end > last && end - last > gap) {
    gap = end - last;
    at = end;
    report.setMaxGapCpu(page.lastCpu.load(relaxed));
  } else {
    report.setMaxGapCpu(page.maxGapCpu.load(relaxed));
  }
  report.setMaxGapNs(gap);
  report.setMaxGapAtNs(at);
}

void fillExit(const Worker& worker, rpc::WorkerExit::Builder exit) {
  if (worker.shared && worker.toldNs != 0 && worker.finished())
    return exit.setClean();  // whatever ended the others
  if (worker.stuck || !worker.exit) return exit.setStuck();
  const int status = worker.exit->status;
  if (WIFSIGNALED(status)) return exit.setSignal(static_cast<uint32_t>(WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) return exit.setCode(WEXITSTATUS(status));
  exit.setClean();
}

}  // namespace

void fillReport(const Worker& worker, uint32_t step, rpc::WorkerReport::Builder report) {
  const work::WorkerPage& page = worker.page();
  report.setStep(step);
  report.setCgroup(worker.cgroup);
  report.setWork(worker.work);
  report.setIndex(worker.index);
  report.setPid(static_cast<uint32_t>(worker.pid));
  report.setTid(static_cast<uint32_t>(worker.tid()));
  fillCounts(page, report);
  if (!worker.anywhere) report.setCpuset(kj::arrayPtr(worker.allowed.data(), worker.allowed.size()));
  fillUsage(worker, report);
  fillTimes(worker, report);
  fillStop(worker, report);
  fillCpus(page, report);
  fillHistograms(page, report);
  fillPages(page, report);
  fillExit(worker, report.initExited());
}

}  // namespace ktstr::agent
