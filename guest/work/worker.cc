#include "guest/work/worker.h"

#include "guest/work/seat.h"

namespace ktstr {

bool Worker::stopping() const {
  return seat_.stopping();
}
uint32_t Worker::index() const {
  return seat_.index;
}
uint32_t Worker::workers() const {
  return seat_.workers;
}
void Worker::checkpoint() {
  seat_.telemetry.checkpoint();
}
void Worker::iteration(uint64_t units) {
  seat_.telemetry.iteration(units);
}
void Worker::block() {
  seat_.telemetry.block();
}
void Worker::resume(uint64_t runnableSinceNs) {
  seat_.telemetry.resume(runnableSinceNs);
}
void Worker::rearm() {
  seat_.telemetry.rearm();
}
bool Worker::sleepUntil(uint64_t dueNs) {
  return seat_.sleepUntil(dueNs);
}
void Worker::spin(uint64_t units) {
  seat_.spin(units);
}
void Worker::operation(uint64_t ns) {
  seat_.telemetry.operation(ns);
}
void Worker::event(uint64_t count) {
  seat_.telemetry.event(count);
}
void Worker::error(const char* call) {
  seat_.telemetry.error(call);
}
void Worker::countPages(void* memory, size_t bytes) {
  seat_.telemetry.countPages(memory, bytes);
}

}  // namespace ktstr
