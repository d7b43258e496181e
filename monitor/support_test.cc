#include "monitor/support.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "monitor/attach.h"
#include "monitor/test_kernel.h"

namespace ktstr {
namespace {

std::vector<Support> supportOfTestKernel(test::KernelOptions options) {
  test::TestKernel guest(options);
  const RamFile ram = guest.ram();
  Attacher attacher(ram, {}, {});
  const auto attachment = attacher.attempt();
  EXPECT_TRUE(attachment) << attacher.reason();
  auto types = readKernelTypes(*attachment->kernel);
  return supportOf(*attachment->kernel, types);
}

Support of(const std::vector<Support>& all, const std::string& feature) {
  const auto at =
      std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.feature == feature; });
  if (at == all.end()) throw std::runtime_error("no feature " + feature);
  return *at;
}

TEST(Support, TakesTheWayThatTheKernelHas) {
  const auto perCpu = of(supportOfTestKernel({}), "event counters");
  EXPECT_TRUE(perCpu.available);
  EXPECT_EQ(perCpu.place, "scx_sched_pcpu.event_stats");
  EXPECT_EQ(perCpu.missing, "");
  const auto pointer = of(supportOfTestKernel({.events = test::EventPlace::pointer}), "event counters");
  EXPECT_EQ(pointer.place, "scx_sched.event_stats_cpu");
}

TEST(Support, NamesWhatIsMissingOfEachWay) {
  const auto all = supportOfTestKernel({.events = test::EventPlace::nowhere});
  const auto events = of(all, "event counters");
  EXPECT_FALSE(events.available);
  EXPECT_EQ(events.place, "");
  EXPECT_EQ(events.missing,
            "no member scx_sched.pcpu, no member scx_sched_pcpu.event_stats; "
            "no member scx_sched.event_stats_cpu; no symbol event_stats_cpu");
  EXPECT_EQ(of(all, "BPF maps").missing.substr(0, 17), "no symbol map_idr");
}

TEST(Support, EachFeatureIsThereOnce) {
  auto all = supportOfTestKernel({});
  EXPECT_GE(all.size(), 20u);
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.feature < b.feature; });
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end(),
                               [](const auto& a, const auto& b) { return a.feature == b.feature; }),
            all.end());
}

}  // namespace
}  // namespace ktstr
