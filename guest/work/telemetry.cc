#include "guest/work/telemetry.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include <cstdio>

#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr::work {
namespace {

constexpr auto relaxed = std::memory_order_relaxed;

template <typename T>
void raise(std::atomic<T>& counter, T by) {
  counter.store(counter.load(relaxed) + by, relaxed);
}

}  // namespace

void spin(const WorkerPage& page, uint64_t iterations) {
  volatile uint64_t unit = 0;
  for (uint64_t i = 1; i <= iterations; i++) {
    unit = unit + 1;
    __builtin_ia32_pause();
    if (i % 1024 == 0 && page.stop.load(relaxed) != 0) return;
  }
}

Telemetry::Telemetry(WorkerPage& page) : page_(page), before_(measure()) {}

Telemetry::Baseline Telemetry::measure() {
  Baseline now;
  timespec cpu{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
  now.cpuNs = static_cast<uint64_t>(cpu.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(cpu.tv_nsec);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  now.voluntary = static_cast<uint64_t>(usage.ru_nvcsw);
  now.involuntary = static_cast<uint64_t>(usage.ru_nivcsw);
  if (const auto line = readFileIfThere("/proc/self/schedstat")) {
    unsigned long long onCpu = 0, delay = 0, slices = 0;
    if (sscanf(line->c_str(), "%llu %llu %llu", &onCpu, &delay, &slices) == 3) {
      now.runDelayNs = delay;
      now.timeslices = slices;
      now.delayValid = true;
    }
  }
  return now;
}

void Telemetry::begin() {
  last_ = page_.goNs.load(relaxed);
  checkpoint();
}

void Telemetry::noteCpu() {
  const int current = sched_getcpu();
  if (current < 0 || static_cast<uint32_t>(current) >= maxCpus) return;
  const auto cpu = static_cast<uint32_t>(current);
  if (cpu == cpu_) return;
  if (cpu_ != UINT32_MAX) raise<uint64_t>(page_.migrations, 1);
  cpu_ = cpu;
  page_.lastCpu.store(cpu, relaxed);
  std::atomic<uint64_t>& word = page_.cpusSeen[cpu / 64];
  word.store(word.load(relaxed) | uint64_t{1} << (cpu % 64), relaxed);
}

void Telemetry::noteGap(uint64_t gap, uint64_t now) {
  if (gap <= page_.maxGapNs.load(relaxed)) return;
  page_.maxGapNs.store(gap, relaxed);
  page_.maxGapAtNs.store(now, relaxed);
  page_.maxGapCpu.store(cpu_, relaxed);
}

void Telemetry::checkpoint() {
  const uint64_t now = monotonicNs();
  noteCpu();
  noteGap(now > last_ ? now - last_ : 0, now);
  last_ = now;
  page_.checkpointNs.store(now, relaxed);
}

void Telemetry::iteration(uint64_t units) {
  checkpoint();
  raise(page_.workUnits, units);
  raise<uint64_t>(page_.iterations, 1);
}

void Telemetry::block() {
  checkpoint();
  page_.blocked.store(1, relaxed);
}

void Telemetry::resume(uint64_t runnableSinceNs) {
  const bool waited = runnableSinceNs >= last_;
  rearm();
  if (!waited) return;
  const uint64_t latency = last_ > runnableSinceNs ? last_ - runnableSinceNs : 0;
  page_.wakeLatency.add(latency);
  raise<uint64_t>(page_.wakeSamples, 1);
  noteGap(latency, last_);
}

void Telemetry::rearm() {
  last_ = monotonicNs();
  noteCpu();
  page_.checkpointNs.store(last_, relaxed);
  page_.blocked.store(0, relaxed);
}

void Telemetry::finish() {
  checkpoint();
  const Baseline now = measure();
  page_.endNs.store(last_, relaxed);
  page_.cpuNs.store(now.cpuNs - before_.cpuNs, relaxed);
  page_.runDelayNs.store(now.runDelayNs - before_.runDelayNs, relaxed);
  page_.timeslices.store(now.timeslices - before_.timeslices, relaxed);
  page_.runDelayValid.store(before_.delayValid && now.delayValid, relaxed);
  page_.voluntarySwitches.store(now.voluntary - before_.voluntary, relaxed);
  page_.involuntarySwitches.store(now.involuntary - before_.involuntary, relaxed);
  page_.finished.store(1, std::memory_order_release);
}

}  // namespace ktstr::work
