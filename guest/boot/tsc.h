// The rate of this machine's time stamp counter, measured.
#pragma once

#include <cstdint>

namespace ktstr {

// Measures the TSC against CLOCK_MONOTONIC_RAW between its construction and kilohertz(). A guest's TSC runs
// at the same rate under TCG (QEMU cpu_get_host_ticks(), without -icount) and under KVM without TSC scaling.
class TscMeter {
 public:
  TscMeter() : start_(sample()) {}
  // Rounded to MHz; waits until 2 ms have passed since construction.
  uint64_t kilohertz() const;

 private:
  struct Sample {
    uint64_t ticks;
    uint64_t nanoseconds;
  };
  static Sample sample();
  Sample start_;
};

// What the kernel would calibrate: init/calibrate.c, lpj = tsc_khz * 1000 / HZ. Debian's CONFIG_HZ is 250.
constexpr uint64_t loopsPerJiffy(uint64_t tscKilohertz, uint64_t hz = 250) {
  return tscKilohertz * 1000 / hz;
}

}  // namespace ktstr
