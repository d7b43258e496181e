#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cmath>

#include "guest/work/loops.h"
#include "guest/work/memory.h"

namespace ktstr::work {
namespace {

constexpr uint64_t shortSpin = 256;

void wakeAllOthers(Seat& seat) {
  seat.notify(1, seat.size - 1);
  seat.group.word.fetch_add(1);
  futexWake(seat.group.word, INT_MAX);
}

bool awaitNextGeneration(Seat& seat) {
  const uint32_t seen = seat.group.word.load();
  return seat.wait(seat.group.word, [&] { return seat.group.word.load() != seen; });
}

// Three n x n matrices of 64-bit numbers, c = a * b the simple way. False: told to stop in the middle.
bool multiply(Seat& seat, Buffer& buffer) {
  const auto n = static_cast<size_t>(std::sqrt(static_cast<double>(buffer.size()) / 3 / sizeof(uint64_t)));
  auto* const a = reinterpret_cast<uint64_t*>(buffer.data());
  uint64_t* const b = a + n * n;
  volatile uint64_t* const c = b + n * n;
  for (size_t row = 0; row < n; row++) {
    for (size_t column = 0; column < n; column++) {
      uint64_t sum = 0;
      for (size_t k = 0; k < n; k++) sum += a[row * n + k] * b[k * n + column];
      c[row * n + column] = sum;
      if (column % 64 == 0 && seat.stopping()) return false;
    }
  }
  return true;
}

// Waits for what the producers write; each wake-up counts from the first write that nobody has taken.
bool consumeEvents(Seat& seat) {
  seat.telemetry.block();
  for (epoll_event event;;) {
    uint64_t events = 0;
    if (epoll_wait(seat.files.epoll.get(), &event, 1, static_cast<int>(longestWaitNs / 1'000'000)) == 1 &&
        read(seat.files.event.get(), &events, sizeof events) == sizeof events)
      break;
    if (!seat.stopping()) continue;
    seat.telemetry.rearm();
    return false;
  }
  const uint64_t firstNs = seat.group.stampNs.exchange(0);
  firstNs != 0 ? seat.telemetry.resume(firstNs) : seat.telemetry.rearm();
  seat.telemetry.event();
  return true;
}

// False: told to stop in the middle.
bool produceEvents(Seat& seat, uint32_t count) {
  const uint64_t one = 1;
  uint32_t sent = 0;
  for (; sent < count && !seat.stopping(); sent++) {
    uint64_t none = 0;
    if (seat.group.stampNs.load() == 0) seat.group.stampNs.compare_exchange_strong(none, clockNs());
    // EAGAIN: nobody has read for 2^64 events.
    if (write(seat.files.event.get(), &one, sizeof one) != sizeof one) seat.telemetry.error("write");
  }
  seat.telemetry.event(sent);
  return sent == count;
}

uint64_t workHop(Seat& seat, uint64_t microseconds) {
  uint64_t units = 0;
  const uint64_t begin = seat.telemetry.lastNs(), end = begin + microseconds * 1000;
  for (uint64_t now = begin; now < end && !seat.stopping(); now = seat.telemetry.now()) {
    seat.spin(shortSpin);
    units += shortSpin;
  }
  return units;
}

}  // namespace

void futexFanOut(Seat& seat) {
  const auto settings = seat.type.getFutexFanOut();
  while (!seat.stopping()) {
    if (seat.position != 0 && !awaitNextGeneration(seat)) return;
    seat.spin(settings.getSpinIters());
    if (seat.position == 0) {
      wakeAllOthers(seat);
      seat.spin(shortSpin);
    }
    seat.telemetry.iteration(settings.getSpinIters() + (seat.position == 0 ? shortSpin : 0));
  }
}

void fanOutCompute(Seat& seat) {
  const auto settings = seat.type.getFanOutCompute();
  if (seat.position == 0) {
    while (!seat.stopping()) {
      wakeAllOthers(seat);
      seat.spin(shortSpin);
      seat.telemetry.iteration(shortSpin);
    }
    return;
  }
  Buffer buffer(seat, settings.getCacheFootprintKib());
  while (buffer && awaitNextGeneration(seat)) {
    if (settings.getSleepUs() > 0) seat.sleepUntil(clockNs() + settings.getSleepUs() * uint64_t{1000});
    const uint64_t begin = seat.telemetry.lastNs();  // of the wait
    for (uint32_t i = 0; i < settings.getOperations(); i++) {
      if (!multiply(seat, buffer)) return;
      seat.telemetry.checkpoint();
    }
    seat.telemetry.operation(seat.telemetry.lastNs() - begin);
    seat.telemetry.count(settings.getOperations());
  }
}

void thunderingHerd(Seat& seat) {
  const auto settings = seat.type.getThunderingHerd();
  const uint64_t pauseNs = settings.getInterBatchMs() * uint64_t{1'000'000};
  if (seat.position != 0) {
    while (awaitNextGeneration(seat)) {
      seat.spin(shortSpin);
      seat.telemetry.iteration(shortSpin);
    }
    return;
  }
  for (uint32_t batch = 0; batch < settings.getBatches(); batch++) {
    if (!seat.sleepUntil(clockNs() + pauseNs)) return;
    wakeAllOthers(seat);
    seat.spin(shortSpin);
    seat.telemetry.iteration(shortSpin);
  }
  seat.sleepUntil(UINT64_MAX / 2);
}

void wakeChain(Seat& seat) {
  const auto settings = seat.type.getWakeChain();
  const bool pipes = settings.getWake() == rpc::WakeMechanism::PIPE;
  const uint32_t previous = (seat.position + seat.size - 1) % seat.size,
                 next = (seat.position + 1) % seat.size;
  for (bool seed = seat.position == 0; !seat.stopping(); seed = false) {
    if (pipes) {
      if (!seed && !seat.waitByte(seat.files.pipeReads[previous].get())) return;
    } else if (!seat.wait(seat.group.word, [&] { return seat.group.word.load() == seat.position; })) {
      return;
    }
    const uint64_t units = workHop(seat, settings.getWorkPerHopUs());
    seat.telemetry.iteration(units);
    seat.notify(next);
    if (!pipes) {
      seat.group.word.store(next);
      futexWake(seat.group.word, INT_MAX);
    } else if (write(seat.files.pipeWrites[seat.position].get(), "x", 1) != 1) {
      seat.telemetry.error("write");
    }
  }
}

void epollStorm(Seat& seat) {
  const auto settings = seat.type.getEpollStorm();
  if (seat.position < settings.getProducers()) {
    while (produceEvents(seat, settings.getEventsPerBurst()))
      seat.telemetry.iteration(settings.getEventsPerBurst());
    return;
  }
  while (consumeEvents(seat)) {
    seat.spin(shortSpin);
    seat.telemetry.iteration(shortSpin);
  }
}

}  // namespace ktstr::work
