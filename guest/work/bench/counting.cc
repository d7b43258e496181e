// Counts what the loops ask of their telemetry instead of measuring it; takes the place of telemetry.cc and
// stamps.cc. The page's fields stand for calls: workUnits checkpoint(), iterations iteration() and count(),
// timeslices count(), wakeSamples a wait, opSamples operation(), events event(), migrations notify().
#include "guest/work/seat.h"

namespace ktstr::work {
namespace {

void add(std::atomic<uint64_t>& calls) {
  calls.store(calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

Telemetry::Telemetry(WorkerPage& page) : page_(page), before_() {}
void Telemetry::begin() {}
void Telemetry::checkpoint() {
  add(page_.workUnits);
}
void Telemetry::iteration(uint64_t) {
  add(page_.iterations);
}
void Telemetry::count(uint64_t) {
  add(page_.iterations);
  add(page_.timeslices);
}
void Telemetry::timedIteration(uint64_t) {
  add(page_.iterations);
  add(page_.opSamples);
}
void Telemetry::block() {
  add(page_.wakeSamples);
}
void Telemetry::resume(uint64_t) {}
void Telemetry::rearm() {}
void Telemetry::operation(uint64_t) {
  add(page_.opSamples);
}
void Telemetry::event(uint64_t) {
  add(page_.events);
}
void Telemetry::error(const char*) {}
void Telemetry::detail(const char*) {}
void Telemetry::countPages(void*, size_t) {}
void Telemetry::finish() {}

void Seat::beginWait() {
  telemetry.block();
}
void Seat::endWait() {}
void Seat::notify(uint32_t) {
  add(page.migrations);
}

}  // namespace ktstr::work
