// What a worker measures about itself, kept in memory it shares with the agent: a worker that crashes, hangs
// or never runs leaves its counters behind.
#pragma once

#include <sched.h>
#include <sys/rseq.h>

#include <atomic>
#include <cstdint>

#include "guest/work/histogram.h"
#include "guest/work/pace.h"

namespace ktstr::work {

inline constexpr uint32_t maxCpus = 512;
inline constexpr uint32_t maxNumaNodes = 64;

// One per worker, which is a process or a thread; MAP_SHARED and zeroed before the fork. The agent writes
// `stop` and `goNs`, the worker the rest; all relaxed, read by the agent after the worker has ended (or while
// it runs, for a look).
struct WorkerPage {
  std::atomic<uint32_t> stop;      // a futex word: 1 = finish
  std::atomic<uint32_t> finished;  // 1 = the worker ended by itself and all fields are final
  std::atomic<uint32_t> blocked;   // 1 = in a voluntary wait: time passing is no gap
  std::atomic<uint32_t> lastCpu;
  std::atomic<uint64_t> goNs;          // when it was told to go; from then on it wants to run
  std::atomic<uint64_t> checkpointNs;  // last checkpoint
  std::atomic<uint64_t> endNs;
  std::atomic<uint64_t> iterations;
  std::atomic<uint64_t> workUnits;
  std::atomic<uint64_t> cpuNs;
  std::atomic<uint64_t> runDelayNs;
  std::atomic<uint64_t> endRunDelayNs;  // of its thread in all, from the thread's beginning to endNs
  std::atomic<uint64_t> timeslices;
  std::atomic<uint32_t> runDelayValid;
  std::atomic<uint64_t> voluntarySwitches;
  std::atomic<uint64_t> involuntarySwitches;
  std::atomic<uint64_t> migrations;
  std::atomic<uint64_t> maxGapNs;
  std::atomic<uint64_t> maxGapAtNs;
  std::atomic<uint32_t> maxGapCpu;
  std::atomic<uint64_t> wakeSamples;
  std::atomic<uint64_t> maxWakeNs;
  std::atomic<uint64_t> maxWakeAtNs;
  std::atomic<uint32_t> maxWakeCpu;
  std::atomic<uint64_t> cpusSeen[maxCpus / 64];
  std::atomic<uint64_t> firstSeenNs[maxCpus];
  Histogram wakeLatency;
  Histogram opDuration;
  std::atomic<uint64_t> opSamples;
  std::atomic<uint64_t> events;
  std::atomic<uint64_t> errors;
  std::atomic<uint32_t> lastErrno;
  std::atomic<uint32_t> tid;          // 0: its thread has not begun
  std::atomic<uint32_t> crashSignal;  // what it got while it ran as a thread (crew.h)
  std::atomic<uint64_t> minorFaults;
  std::atomic<uint64_t> majorFaults;
  std::atomic<uint64_t> kernelMigrations;
  std::atomic<uint32_t> kernelMigrationsValid;
  std::atomic<uint64_t> numaPagesMigrated;
  std::atomic<uint32_t> numaPagesMigratedValid;
  std::atomic<uint64_t> numaPages[maxNumaNodes];
  char lastErrorCall[32];  // NUL-terminated by the worker; the agent reads it bounded
  char detail[64];         // the same
};

// The worker's side of its page. A *gap* is time in which the worker wanted to run and made no progress:
// between two checkpoints for work that spins, and from the moment it became runnable (its partner's call,
// the end of its sleep) to the moment it ran for work that blocks. Time in a voluntary wait is never part of
// a gap. Clock and CPU are read at every checkpoint (clock.h and rseq, no system call), the CPU after every
// step of steps() and inside of long work as well, so no migration that lasts from one to the next is missed;
// the kernel's own count, read at the beginning and the end, has them all. It is made, and used, by the
// thread it measures.
class Telemetry {
 public:
  // Reads the baselines of CPU time, run delay and switches. Before the worker waits for its start, so that
  // the delay of the start itself counts.
  explicit Telemetry(WorkerPage& page);

  // The work loop begins; the page's goNs counts as the first checkpoint.
  void begin();
  bool stopping() const { return page_.stop.load(std::memory_order_relaxed) != 0; }

  // Progress was made. Closes a gap, notes the CPU.
  void checkpoint();
  // Inside of long work: where it is, so that a visit between two checkpoints is seen as well.
  void noteCpu();
  // As checkpoint(), and returns the time, for a loop that would have read the clock anyway.
  uint64_t now();
  // When the last checkpoint or wait ended.
  uint64_t lastNs() const { return last_; }
  // As checkpoint(), and one iteration of `units` units of work is finished.
  void iteration(uint64_t units);

  // So many iterations are finished, of `units` units in all, without a checkpoint: where one is beside it
  // anyway, or in work of so few microseconds that every fourth time is often enough.
  void count(uint64_t units, uint64_t iterations = 1);

  // In place of checkpoint(), for work of steps so short that reading the clock after each would cost more
  // than 1 % of it. Does some steps, until it is told to stop, and returns how many. The CPU is noted after
  // each, the clock after the last, as often as pace.h says: after every step while others are on the CPU
  // too, else at most 2 * readingsPerLook times the cost of a reading apart. A gap can be too long by that
  // much; one that begins after a quiet time can be the sum of several waits (pace.h).
  template <typename Step>
  uint32_t steps(const Step& step) {
    const uint32_t most = pace_.stepsPerLook(), cpu = cpu_;
    const volatile uint32_t* const rseq = rseq_;
    uint32_t done = 0;
    do {
      step();
      done++;
    } while (done < most && currentCpu(rseq) == cpu && !stopping());
    look(done);
    return done;
  }

  // Around a voluntary wait. block() is a checkpoint. Then one of
  //   resume()  the wait ended because of an event at `runnableSinceNs`: one wake latency sample, and a gap
  //   as long;
  //             neither if the event was before block(), where there was nothing to wait for
  //   rearm()   it ended without one: no sample, no gap
  void block();
  void resume(uint64_t runnableSinceNs);
  void rearm();

  // One operation of the kind that the work type names took so long (WorkerReport.opDuration).
  void operation(uint64_t ns);
  // As iteration(); the time since the last checkpoint is the operation.
  void timedIteration(uint64_t units);
  // WorkerReport.events.
  void event(uint64_t count = 1);
  // `call` failed with errno, and therefore the work is not what its type says: a run with any fails. What a
  // change of the scenario's own brings about (a CPU taken away, a cgroup removed) is none.
  void error(const char* call);
  // How the work is done, where there is a choice. The last one counts.
  void detail(const char* how);
  // Where the pages of this memory are now; those never touched are nowhere. Adds up.
  void countPages(void* memory, size_t bytes);

  // The work loop has ended: final values.
  void finish();

 private:
  struct Baseline {
    uint64_t cpuNs = 0, runDelayNs = 0, timeslices = 0, voluntary = 0, involuntary = 0;
    uint64_t minorFaults = 0, majorFaults = 0, migrations = 0, numaPagesMigrated = 0;
    bool delayValid = false, migrationsValid = false, numaPagesMigratedValid = false;
  };
  static constexpr uint64_t readingsPerLook = 600;

  static Baseline measure();
  static void readSched(Baseline& now);
  static uint32_t currentCpu(const volatile uint32_t* rseq) {
    return rseq != nullptr ? *rseq : static_cast<uint32_t>(sched_getcpu());
  }
  void look(uint32_t steps);
  void noteGap(uint64_t gap, uint64_t now);

  WorkerPage& page_;
  Baseline before_;
  const volatile uint32_t* rseq_;  // the kernel keeps this thread's CPU there; null: not with this C library
  Pace pace_;
  uint64_t last_ = 0;
  uint32_t cpu_ = UINT32_MAX;
};

}  // namespace ktstr::work
