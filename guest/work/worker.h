// What a custom work function gets: its worker, which counts what is told to it. An author's program (with
// ktstr.h) declares the function with KTSTR_WORK and names it in a scenario; the program is packed into the
// guest, where it becomes the worker's process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ktstr {

namespace work {
class Seat;
}

// Of the thread that runs the function. Times are of CLOCK_MONOTONIC, in ns.
class Worker {
 public:
  explicit Worker(work::Seat& seat) : seat_(seat) {}

  // Whether it has to end: to be asked at least every 100 ms. One that has not ended 2 s after it was told to
  // is killed, and is the finding "worker-stuck"; one that ends before is "worker-crashed".
  bool stopping() const;
  uint32_t index() const;    // of the workers of its WorkSpec
  uint32_t workers() const;  // how many these are

  // Progress was made: what passes from one to the next without a wait is a gap, in which it wanted to run.
  void checkpoint();
  // As checkpoint(), and one iteration of `units` units of work is finished. A worker without any is starved.
  void iteration(uint64_t units = 1);

  // Around a wait of its own will, which is no gap: block(), wait, then resume() with the time of the event
  // that ended it, for a sample of the wake latency, or rearm() if there was none (the wait timed out).
  void block();
  void resume(uint64_t runnableSinceNs);
  void rearm();
  // All of it, until a time. False: it was told to stop.
  bool sleepUntil(uint64_t dueNs);

  void spin(uint64_t units);                    // so many rounds of a pause hint and a counter
  void operation(uint64_t ns);                  // WorkerReport.opDuration gets a sample
  void event(uint64_t count = 1);               // WorkerReport.events
  void error(const char* call);                 // `call` failed with errno: the finding "worker-call-failed"
  void countPages(void* memory, size_t bytes);  // where the pages of this memory are: WorkerReport.numaPages

 private:
  work::Seat& seat_;
};

}  // namespace ktstr
