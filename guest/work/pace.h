// How often work of short steps looks at the clock.
#pragma once

#include <cstdint>

namespace ktstr::work {

// A look after every step costs too much where a step is a bare system call. So the steps between two looks
// become one more with each look that finds them done within `intervalNs`, and one again as soon as they took
// twice as long, which is when somebody else was on the CPU. Waits of several steps between two looks are one
// gap to who looks, their sum: an upper bound. That takes n steps from look to look, thus n * n / 2 steps
// before without any such wait, and of those that follow each is seen alone.
class Pace {
 public:
  static constexpr uint32_t longest = 64;

  explicit Pace(uint64_t intervalNs) : intervalNs_(intervalNs) {}

  uint32_t stepsPerLook() const { return stepsPerLook_; }

  // There was a look after so many steps, so long after the one before.
  void looked(uint32_t steps, uint64_t passedNs) {
    if (passedNs >= 2 * intervalNs_)
      stepsPerLook_ = 1;
    else if (passedNs < intervalNs_ && steps == stepsPerLook_ && steps < longest)
      stepsPerLook_++;
  }

 private:
  uint64_t intervalNs_;
  uint32_t stepsPerLook_ = 1;
};

}  // namespace ktstr::work
