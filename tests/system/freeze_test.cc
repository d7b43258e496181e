// Frozen by the monitor's capability, Linux under TCG stands still and goes on.
#include <gtest/gtest.h>

#include "tests/system/frozen_linux.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

TEST(Freeze, LinuxUnderTcgGoesOnAsIfNothingHadBeen) {
  KTSTR_NEED_KERNEL("debian:7.3");
  expectFrozenLinuxGoesOn("ktstr-vmm-tcg", "debian:7.3");
}

}  // namespace
}  // namespace ktstr::testing
