// A worker's place in its group: all that a loop needs.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "guest/work/clock.h"
#include "guest/work/telemetry.h"
#include "guest/work/wait.h"
#include "protocol/fd.h"
#include "protocol/scenario.capnp.h"

namespace ktstr::work {

using Type = rpc::WorkType;

// What a group shares, in memory made before the workers are forked: one Group, a Member for each worker of
// it, and the slots of a queue.
struct alignas(64) Group {
  std::atomic<uint32_t> word;     // of the type: turn, generation, lock, stage
  std::atomic<uint64_t> stampNs;  // of the type: when the event in question happened; 0: none
  std::atomic<uint64_t> head, tail;
};

struct alignas(64) Member {
  std::atomic<uint64_t> wokenNs;  // the first call that woke it since it began to wait; 0: none yet
  std::atomic<uint32_t> word;     // a futex word of its own
  std::atomic<uint32_t> waiting;  // 1: wakeOne() may choose it
  std::atomic<uint32_t> tid;      // for signals; 0: takes none
};

// Descriptors of a group, made before the workers are forked.
struct GroupFiles {
  std::vector<Fd> pipeReads, pipeWrites;  // position k writes to pipe k
  Fd event, epoll;
};

// What the agent knows and a worker needs.
struct Surroundings {
  std::string scratch = "/tmp";           // where a disk's file may be made
  std::vector<std::string> churnCgroups;  // cgroup.procs files for cgroupChurn
};

// xorshift64 (Marsaglia 2003); `state` is never 0.
inline uint64_t nextRandom(uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

class Seat {
 public:
  Telemetry& telemetry;
  WorkerPage& page;
  Type::Reader type;
  uint32_t index;     // of all workers of the WorkSpec
  uint32_t workers;   // how many these are
  uint32_t position;  // in its group
  uint32_t size;      // of the group
  Group& group;
  Member* members;
  std::atomic<uint64_t>* slots;
  const GroupFiles& files;
  int disk;  // disk.h; -1: none
  const Surroundings& surroundings;

  Member& me() { return members[position]; }
  bool stopping() const { return telemetry.stopping(); }
  // `units` rounds of a pause hint and a counter that cannot be optimised away. Looks at the stop word and
  // notes the CPU every 1024.
  void spin(uint64_t units) const;

  // Waiting. Each is a voluntary wait in the sense of telemetry.h and returns false if the worker was told to
  // stop, within 50 ms.

  // Until ready(), which is asked again whenever `word` changes.
  template <typename Ready>
  bool wait(const std::atomic<uint32_t>& word, const Ready& ready);
  // Until a byte can be read from a non-blocking descriptor, and reads it.
  bool waitByte(int fd);
  // Writes a byte to its own pipe, for a partner that nobody else wakes, and waits for one of the partner's.
  // The wait begins before the write, which the same reading of the clock stands for: who has told its
  // partner has nothing left to do but to wait.
  bool tradeByte(uint32_t partner);
  // Until a time of CLOCK_MONOTONIC, which is when it became runnable.
  bool sleepUntil(uint64_t dueNs);

  // The waker's side: the call that wakes `count` members from position `first` on comes next.
  void notify(uint32_t first, uint32_t count = 1);
  // The same of one that nobody else wakes, at a time already known.
  void notifyAt(uint32_t target, uint64_t ns);
  // Wakes one of those [first, first + count) that wait at their own word with `waiting` set, the first ones
  // first. False: nobody waits.
  bool wakeOne(uint32_t first, uint32_t count);
  // wait() for one that wakeOne() may choose.
  template <typename Ready>
  bool waitInLine(const Ready& ready);

  // Until it is told to stop: iterations of work(), `units` each, as steps of telemetry.h (steps()).
  template <typename Work>
  void repeat(uint64_t units, const Work& work);

  // The calling thread's scheduling policy. False: the kernel refused, which is an error of the report.
  bool setPolicy(int policy, int priority = 0);

 private:
  void beginWait();
  void endWait();
  bool readByte(int fd);  // waitByte() without its beginning
};

template <typename Ready>
bool Seat::wait(const std::atomic<uint32_t>& word, const Ready& ready) {
  beginWait();
  for (;;) {
    const uint32_t value = word.load(std::memory_order_acquire);
    if (ready()) break;
    if (stopping()) {
      telemetry.rearm();
      return false;
    }
    futexWait(word, value, clockNs() + longestWaitNs);
  }
  endWait();
  return true;
}

template <typename Work>
void Seat::repeat(uint64_t units, const Work& work) {
  while (!stopping()) {
    const uint32_t done = telemetry.steps(work);
    telemetry.count(done * units, done);
  }
}

template <typename Ready>
bool Seat::waitInLine(const Ready& ready) {
  const bool done = wait(me().word, [&] {
    me().waiting.store(1);  // before the question, as wakeOne() looks after the answer has changed
    return ready();
  });
  me().waiting.store(0);
  return done;
}

}  // namespace ktstr::work
