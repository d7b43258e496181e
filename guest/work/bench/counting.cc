// Counts what the loops ask of their telemetry instead of measuring it; takes the place of telemetry.cc and
// stamps.cc. It has the time, and the pace of steps(), as loops go by them.
#include "guest/work/bench/calls.h"
#include "guest/work/clock.h"
#include "guest/work/seat.h"

namespace ktstr::work {
namespace {

void raise(std::atomic<uint64_t>& counter, uint64_t by) {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}
void add(WorkerPage& page, Call call, uint64_t count = 1) {
  raise(page.numaPages[call], count);
}

}  // namespace

Telemetry::Telemetry(WorkerPage& page)
    : page_(page), before_(), rseq_(&cpu_), pace_(readingsPerLook * clockCostNs()) {}
void Telemetry::begin() {}
void Telemetry::checkpoint() {
  add(page_, checkpointCall);
}
void Telemetry::noteCpu() {
  add(page_, stepCall);  // which is to note the CPU
}
uint64_t Telemetry::now() {
  add(page_, nowCall);
  return last_ = clockNs();
}
void Telemetry::look(uint32_t steps) {
  const uint64_t before = last_;
  last_ = clockNs();
  pace_.looked(steps, last_ - before);
  add(page_, lookCall);
  add(page_, stepCall, steps);
}
void Telemetry::iteration(uint64_t) {
  add(page_, iterationCall);
  raise(page_.iterations, 1);
}
void Telemetry::count(uint64_t, uint64_t iterations) {
  add(page_, countCall);
  raise(page_.iterations, iterations);
}
void Telemetry::timedIteration(uint64_t units) {
  iteration(units);
  operation(0);
}
void Telemetry::block() {
  last_ = clockNs();
}
void Telemetry::resume(uint64_t) {
  add(page_, waitCall);
  last_ = clockNs();
}
void Telemetry::rearm() {
  resume(0);
}
void Telemetry::operation(uint64_t) {
  add(page_, operationCall);
}
void Telemetry::event(uint64_t) {
  add(page_, eventCall);
}
void Telemetry::error(const char*) {}
void Telemetry::detail(const char*) {}
void Telemetry::countPages(void*, size_t) {}
void Telemetry::finish() {}

void Seat::beginWait() {
  telemetry.block();
}
void Seat::endWait() {
  telemetry.rearm();
}
void Seat::notify(uint32_t, uint32_t count) {
  add(page, notifyCall);
  add(page, furtherNotifyCall, count - 1);
}
void Seat::notifyAt(uint32_t, uint64_t) {
  add(page, notifyAtCall);
}

}  // namespace ktstr::work
