#include "guest/work/telemetry.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "guest/work/clock.h"
#include "guest/work/schedstat.h"
#include "protocol/file.h"

namespace ktstr::work {
namespace {

constexpr auto relaxed = std::memory_order_relaxed;

template <typename T>
void raise(std::atomic<T>& counter, T by) {
  counter.store(counter.load(relaxed) + by, relaxed);
}

void copyText(char* to, size_t size, const char* from) {
  const size_t length = std::min(strlen(from), size - 1);
  std::fill(std::copy_n(from, length, to), to + size, '\0');
}

// glibc has registered it for every thread (man 2 rseq is none; Documentation/userspace-api/rseq.rst).
const volatile uint32_t* whereCpuIs() {
  if (__rseq_size == 0) return nullptr;
  return &reinterpret_cast<const volatile struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) +
                                                        __rseq_offset)
              ->cpu_id;
}

}  // namespace

Telemetry::Telemetry(WorkerPage& page)
    : page_(page), before_(measure()), rseq_(whereCpuIs()), pace_(readingsPerLook * clockCostNs()) {
  page_.tid.store(static_cast<uint32_t>(gettid()), std::memory_order_release);
}

Telemetry::Baseline Telemetry::measure() {
  Baseline now;
  timespec cpu{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
  now.cpuNs = static_cast<uint64_t>(cpu.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(cpu.tv_nsec);
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  now.voluntary = static_cast<uint64_t>(usage.ru_nvcsw);
  now.involuntary = static_cast<uint64_t>(usage.ru_nivcsw);
  now.minorFaults = static_cast<uint64_t>(usage.ru_minflt);
  now.majorFaults = static_cast<uint64_t>(usage.ru_majflt);
  if (const auto times = schedstatOf(0)) {
    now.runDelayNs = times->runDelayNs;
    now.timeslices = times->timeslices;
    now.delayValid = true;
  }
  readSched(now);
  return now;
}

// Lines "name   :   value" (kernel/sched/debug.c, proc_sched_show_task).
void Telemetry::readSched(Baseline& now) {
  const std::string text = readFileIfThere("/proc/thread-self/sched").value_or("");
  const auto value = [&](const char* name, uint64_t& to) {
    const size_t line = text.find(name);
    unsigned long long number = 0;
    if (line == std::string::npos || sscanf(text.c_str() + line + strlen(name), " : %llu", &number) != 1)
      return false;
    to = number;
    return true;
  };
  now.migrationsValid = value("\nse.nr_migrations", now.migrations);
  now.numaPagesMigratedValid = value("\nnuma_pages_migrated", now.numaPagesMigrated);
}

void Telemetry::begin() {
  last_ = page_.goNs.load(relaxed);
  checkpoint();
}

void Telemetry::noteCpu() {
  const uint32_t cpu = currentCpu(rseq_);
  if (cpu == cpu_ || cpu >= maxCpus) return;
  if (cpu_ != UINT32_MAX) raise<uint64_t>(page_.migrations, 1);
  cpu_ = cpu;
  page_.lastCpu.store(cpu, relaxed);
  std::atomic<uint64_t>& word = page_.cpusSeen[cpu / 64];
  const uint64_t seen = word.load(relaxed), bit = uint64_t{1} << (cpu % 64);
  if ((seen & bit) != 0) return;
  page_.firstSeenNs[cpu].store(clockNs(), relaxed);
  word.store(seen | bit, relaxed);
}

void Telemetry::noteGap(uint64_t gap, uint64_t now) {
  if (gap <= page_.maxGapNs.load(relaxed)) return;
  page_.maxGapNs.store(gap, relaxed);
  page_.maxGapAtNs.store(now, relaxed);
  page_.maxGapCpu.store(cpu_, relaxed);
}

void Telemetry::checkpoint() {
  const uint64_t now = clockNs();
  noteCpu();
  noteGap(now > last_ ? now - last_ : 0, now);
  last_ = now;
  page_.checkpointNs.store(now, relaxed);
}

uint64_t Telemetry::now() {
  checkpoint();
  return last_;
}

void Telemetry::look(uint32_t steps) {
  const uint64_t before = last_;
  checkpoint();
  pace_.looked(steps, last_ - before);
}

void Telemetry::iteration(uint64_t units) {
  checkpoint();
  count(units);
}

void Telemetry::count(uint64_t units, uint64_t iterations) {
  raise(page_.workUnits, units);
  raise(page_.iterations, iterations);
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
  if (latency < page_.maxWakeNs.load(relaxed)) return;
  page_.maxWakeNs.store(latency, relaxed);
  page_.maxWakeAtNs.store(last_, relaxed);
  page_.maxWakeCpu.store(cpu_, relaxed);
}

void Telemetry::rearm() {
  last_ = clockNs();
  noteCpu();
  page_.checkpointNs.store(last_, relaxed);
  page_.blocked.store(0, relaxed);
}

void Telemetry::operation(uint64_t ns) {
  page_.opDuration.add(ns);
  raise<uint64_t>(page_.opSamples, 1);
}

void Telemetry::timedIteration(uint64_t units) {
  const uint64_t begin = last_;
  iteration(units);
  operation(last_ - begin);
}

void Telemetry::event(uint64_t count) {
  raise(page_.events, count);
}

void Telemetry::error(const char* call) {
  const int number = errno;
  copyText(page_.lastErrorCall, sizeof page_.lastErrorCall, call);
  page_.lastErrno.store(static_cast<uint32_t>(number), relaxed);
  raise<uint64_t>(page_.errors, 1);
}

void Telemetry::detail(const char* how) {
  copyText(page_.detail, sizeof page_.detail, how);
}

void Telemetry::countPages(void* memory, size_t bytes) {
  constexpr size_t pageSize = 4096, batch = 1024;
  void* addresses[batch];
  int nodes[batch];
  for (size_t done = 0; done < bytes;) {
    size_t count = 0;
    for (; count < batch && done < bytes; done += pageSize)
      addresses[count++] = static_cast<char*>(memory) + done;
    // Without target nodes it only says where they are (man 2 move_pages); a page that is not there: -ENOENT.
    // A kernel without NUMA has no such call: then nothing is known of them, and the work is what it was.
    if (syscall(SYS_move_pages, 0, count, addresses, nullptr, nodes, 0) != 0) {
      if (errno != ENOSYS) error("move_pages");
      return;
    }
    for (size_t i = 0; i < count; i++) {
      if (nodes[i] >= 0 && static_cast<uint32_t>(nodes[i]) < maxNumaNodes)
        raise<uint64_t>(page_.numaPages[nodes[i]], 1);
    }
  }
}

void Telemetry::finish() {
  checkpoint();
  const Baseline now = measure();
  page_.endNs.store(last_, relaxed);
  page_.cpuNs.store(now.cpuNs - before_.cpuNs, relaxed);
  page_.runDelayNs.store(now.runDelayNs - before_.runDelayNs, relaxed);
  page_.endRunDelayNs.store(now.runDelayNs, relaxed);
  page_.timeslices.store(now.timeslices - before_.timeslices, relaxed);
  page_.runDelayValid.store(before_.delayValid && now.delayValid, relaxed);
  page_.voluntarySwitches.store(now.voluntary - before_.voluntary, relaxed);
  page_.involuntarySwitches.store(now.involuntary - before_.involuntary, relaxed);
  page_.minorFaults.store(now.minorFaults - before_.minorFaults, relaxed);
  page_.majorFaults.store(now.majorFaults - before_.majorFaults, relaxed);
  page_.kernelMigrations.store(now.migrations - before_.migrations, relaxed);
  page_.kernelMigrationsValid.store(before_.migrationsValid && now.migrationsValid, relaxed);
  page_.numaPagesMigrated.store(now.numaPagesMigrated - before_.numaPagesMigrated, relaxed);
  page_.numaPagesMigratedValid.store(before_.numaPagesMigratedValid && now.numaPagesMigratedValid, relaxed);
  page_.finished.store(1, std::memory_order_release);
}

}  // namespace ktstr::work
