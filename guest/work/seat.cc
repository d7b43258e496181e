#include "guest/work/seat.h"

#include <poll.h>
#include <sched.h>
#include <unistd.h>

namespace ktstr::work {

void Seat::spin(uint64_t units) const {
  volatile uint64_t unit = 0;
  for (uint64_t i = 1; i <= units; i++) {
    unit = unit + 1;
    __builtin_ia32_pause();
    if (i % 1024 != 0 || i == units) continue;
    if (stopping()) return;
    telemetry.noteCpu();
  }
}

bool Seat::waitByte(int fd) {
  beginWait();
  return readByte(fd);
}

bool Seat::tradeByte(uint32_t partner) {
  beginWait();
  notifyAt(partner, telemetry.lastNs());
  if (write(files.pipeWrites[position].get(), "x", 1) != 1) telemetry.error("write");
  return readByte(files.pipeReads[partner].get());
}

bool Seat::readByte(int fd) {
  for (char byte; read(fd, &byte, 1) != 1;) {
    if (stopping()) {
      telemetry.rearm();
      return false;
    }
    pollfd source = {fd, POLLIN, 0};
    poll(&source, 1, static_cast<int>(longestWaitNs / 1'000'000));
  }
  endWait();
  return true;
}

bool Seat::sleepUntil(uint64_t dueNs) {
  telemetry.block();
  // A wait on the stop word, so that being stopped ends it.
  while (!stopping() && clockNs() < dueNs) futexWait(page.stop, 0, dueNs);
  clockNs() >= dueNs ? telemetry.resume(dueNs) : telemetry.rearm();
  return !stopping();
}

bool Seat::wakeOne(uint32_t first, uint32_t count) {
  for (uint32_t target = first; target < first + count; target++) {
    Member& member = members[target];
    if (member.waiting.load() == 0 || member.waiting.exchange(0) == 0) continue;
    notify(target);
    member.word.fetch_add(1);
    futexWake(member.word, 1);
    return true;
  }
  return false;
}

bool Seat::setPolicy(int policy, int priority) {
  sched_param parameters{};
  parameters.sched_priority = priority;
  if (sched_setscheduler(0, policy, &parameters) == 0) return true;
  telemetry.error("sched_setscheduler");
  return false;
}

}  // namespace ktstr::work
