#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "guest/work/loops.h"

namespace ktstr::work {
namespace {

// The group's word as a lock: 0 free, 1 taken. Who waits does so in line, so that it is known whom a release
// wakes.
class PlainLock {
 public:
  explicit PlainLock(Seat& seat) : seat_(seat) {}
  // False: told to stop.
  bool take() {
    return tryTake() || seat_.waitInLine([this] { return tryTake(); });
  }
  // The next ones from `first` on have a turn first, then those before.
  void release(uint32_t first) {
    seat_.group.word.store(0);
    if (!seat_.wakeOne(first, seat_.size - first)) seat_.wakeOne(0, first);
  }

 private:
  bool tryTake() {
    uint32_t free = 0;
    return seat_.group.word.compare_exchange_strong(free, 1);
  }
  Seat& seat_;
};

// The same with priority inheritance: the word holds the owner's tid, the rest is the kernel's (man 2 futex).
class PiLock {
 public:
  explicit PiLock(Seat& seat) : seat_(seat), tid_(static_cast<uint32_t>(gettid())) {}
  bool take() {
    uint32_t free = 0;
    if (seat_.group.word.compare_exchange_strong(free, tid_)) return true;
    seat_.telemetry.block();
    while (!lock()) {
      if (!seat_.stopping()) continue;
      seat_.telemetry.rearm();
      return false;
    }
    seat_.telemetry.resume(seat_.group.stampNs.load());
    return true;
  }
  void release() {
    uint32_t mine = tid_;
    seat_.group.stampNs.store(clockNs());  // nobody else has the lock before who is woken now
    if (!seat_.group.word.compare_exchange_strong(mine, 0) && futex(FUTEX_UNLOCK_PI, nullptr) != 0)
      seat_.telemetry.error("FUTEX_UNLOCK_PI");
  }

 private:
  long futex(int operation, const timespec* deadline) {
    return syscall(SYS_futex, &seat_.group.word, operation, 0, deadline, nullptr, 0);
  }
  // At most 50 ms. False: not yet.
  bool lock() {
    const uint64_t endNs = clockNs() + longestWaitNs;
    const timespec deadline = {static_cast<time_t>(endNs / 1'000'000'000),
                               static_cast<long>(endNs % 1'000'000'000)};
    if (futex(FUTEX_LOCK_PI2, &deadline) == 0) return true;
    if (errno == EINTR || errno == EAGAIN || errno == ETIMEDOUT) return false;
    seat_.telemetry.error("FUTEX_LOCK_PI2");
    seat_.sleepUntil(endNs);
    return false;
  }

  Seat& seat_;
  uint32_t tid_;
};

// Takes the lock and reports how long that took, also when it was in vain.
template <typename Lock>
bool takeTimed(Seat& seat, Lock& lock) {
  const uint64_t begin = clockNs();
  const bool taken = lock.take();
  seat.telemetry.operation(clockNs() - begin);
  return taken;
}

constexpr uint64_t millisecond = 1'000'000;

void runMedium(Seat& seat) {
  while (!seat.stopping()) {
    for (const uint64_t end = clockNs() + 20 * millisecond; clockNs() < end && !seat.stopping();) {
      seat.spin(1024);
      seat.telemetry.iteration(1024);
    }
    seat.sleepUntil(clockNs() + 10 * millisecond);
  }
}

template <typename Lock, typename Release>
void runTier(Seat& seat, Lock& lock, const Release& release) {
  const auto settings = seat.type.getPriorityInversion();
  const bool high = seat.position < settings.getHigh();
  const uint32_t hold = high ? settings.getWorkIters() : settings.getHoldIters();
  while (!seat.stopping()) {
    seat.spin(settings.getWorkIters());
    if (!takeTimed(seat, lock)) return;
    seat.spin(hold);
    release();
    seat.telemetry.iteration(uint64_t{settings.getWorkIters()} + hold);
    if (high) seat.sleepUntil(clockNs() + millisecond);
  }
}

// One after the other, the highest first: one that is real time already would keep the rest from becoming it.
// False: told to stop.
bool enterTier(Seat& seat, int priority) {
  if (seat.position > 0) {
    const std::atomic<uint32_t>& before = seat.members[seat.position - 1].word;
    if (!seat.wait(before, [&] { return before.load() != 0; })) return false;
  }
  seat.setPolicy(SCHED_FIFO, priority);
  seat.me().word.fetch_add(1);
  futexWake(seat.me().word, INT_MAX);
  return true;
}

// Many producers, many consumers, without a lock (D. Vyukov's bounded MPMC queue): a slot is a sequence
// number, which says whose turn it is, and a value.
class Queue {
 public:
  Queue(Seat& seat, uint32_t depth) : group_(seat.group), slots_(seat.slots), depth_(depth) {}

  bool push(uint64_t value) {
    for (uint64_t place = group_.tail.load();;) {
      std::atomic<uint64_t>* slot = slots_ + place % depth_ * 2;
      const auto ahead = static_cast<int64_t>(slot[0].load() - place);
      if (ahead < 0) return false;
      if (ahead > 0) {
        place = group_.tail.load();
      } else if (group_.tail.compare_exchange_weak(place, place + 1)) {
        slot[1].store(value);
        slot[0].store(place + 1);
        return true;
      }
    }
  }
  bool pop(uint64_t& value) {
    for (uint64_t place = group_.head.load();;) {
      std::atomic<uint64_t>* slot = slots_ + place % depth_ * 2;
      const auto ahead = static_cast<int64_t>(slot[0].load() - place - 1);
      if (ahead < 0) return false;
      if (ahead > 0) {
        place = group_.head.load();
      } else if (group_.head.compare_exchange_weak(place, place + 1)) {
        value = slot[1].load();
        slot[0].store(place + depth_);
        return true;
      }
    }
  }

 private:
  Group& group_;
  std::atomic<uint64_t>* slots_;
  uint64_t depth_;
};

}  // namespace

void mutexContention(Seat& seat) {
  const auto settings = seat.type.getMutexContention();
  PlainLock lock(seat);
  while (!seat.stopping()) {
    seat.spin(settings.getWorkIters());
    if (!takeTimed(seat, lock)) return;
    seat.spin(settings.getHoldIters());
    lock.release(seat.position + 1);
    seat.telemetry.iteration(uint64_t{settings.getWorkIters()} + settings.getHoldIters());
  }
}

void priorityInversion(Seat& seat) {
  const auto settings = seat.type.getPriorityInversion();
  const bool high = seat.position < settings.getHigh();
  const bool medium = !high && seat.position < settings.getHigh() + settings.getMedium();
  if (!enterTier(seat, high ? 70 : medium ? 50 : 30)) return;
  if (medium) return runMedium(seat);
  if (settings.getPiMode() == rpc::FutexLockMode::PI) {
    PiLock lock(seat);
    return runTier(seat, lock, [&] { lock.release(); });
  }
  PlainLock lock(seat);
  runTier(seat, lock, [&] { lock.release(0); });  // the highest first
}

void producerConsumerImbalance(Seat& seat) {
  const auto settings = seat.type.getProducerConsumerImbalance();
  const uint32_t producers = settings.getProducers();
  Queue queue(seat, settings.getQueueDepthTarget());
  const uint64_t periodNs = 1'000'000'000 / settings.getProduceRateHz();
  while (!seat.stopping()) {
    uint64_t pushedNs = 0;
    if (seat.position < producers) {
      const auto push = [&] { return queue.push(clockNs()); };
      if (!push() && !seat.waitInLine(push)) return;
      seat.wakeOne(producers, seat.size - producers);
      seat.telemetry.iteration(1);
      seat.sleepUntil(clockNs() + periodNs);
    } else {
      const auto pop = [&] { return queue.pop(pushedNs); };
      if (!pop() && !seat.waitInLine(pop)) return;
      seat.telemetry.operation(clockNs() - pushedNs);
      seat.wakeOne(0, producers);
      seat.spin(settings.getConsumeIters());
      seat.telemetry.iteration(settings.getConsumeIters());
    }
    seat.telemetry.event();
  }
}

}  // namespace ktstr::work
