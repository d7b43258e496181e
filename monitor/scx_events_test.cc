#include "monitor/scx_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/test_kernel.h"

namespace ktstr {
namespace {

using namespace test::offsets;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Guest {
  explicit Guest(test::EventPlace place)
      : kernel([&] {
          test::KernelOptions options;
          options.events = place;
          return options;
        }()),
        ram(kernel.ram()) {
    Attacher attacher(ram, {}, {});
    attachment = attacher.attempt();
    if (!attachment) throw std::runtime_error(attacher.reason());
  }
  test::TestKernel kernel;
  RamFile ram;
  std::optional<Attachment> attachment;
};

class ScxEventsPlaces : public ::testing::TestWithParam<test::EventPlace> {};

TEST_P(ScxEventsPlaces, CountersAreFound) {
  Guest guest(GetParam());
  const ScxEvents events(*guest.attachment);
  EXPECT_EQ(events.absent(), "");
  EXPECT_THAT(events.names(), ElementsAre("SCX_EV_A", "SCX_EV_B"));
  guest.kernel.attachScheduler("simple");
  for (uint32_t cpu = 0; cpu < 4; ++cpu) {
    guest.kernel.put<uint64_t>(guest.kernel.eventsGpa(cpu) + eventA, 100 + cpu);
    guest.kernel.put<uint64_t>(guest.kernel.eventsGpa(cpu) + eventB, 7);
  }
  const auto place = events.locate();
  ASSERT_TRUE(place);
  EXPECT_THAT(events.read(*place, 0), ElementsAre(100, 7));
  EXPECT_THAT(events.read(*place, 3), ElementsAre(103, 7));
  EXPECT_THAT(events.read(*place, 4), IsEmpty()) << "there is no such CPU";
  EXPECT_TRUE(events.holds(*place));
}

INSTANTIATE_TEST_SUITE_P(All, ScxEventsPlaces,
                         ::testing::Values(test::EventPlace::perCpuPart, test::EventPlace::pointer));

// The static variable's per-CPU copies are 0x1000 after the runqueues here.
TEST(ScxEvents, VariableOfItsOwn) {
  Guest guest(test::EventPlace::variable);
  const ScxEvents events(*guest.attachment);
  EXPECT_EQ(events.absent(), "");
  const auto place = events.locate();
  ASSERT_TRUE(place);
  guest.kernel.put<uint64_t>(guest.kernel.eventsGpa(1) + eventA, 5);
  EXPECT_THAT(events.read(*place, 1), ElementsAre(5, 0));
}

TEST(ScxEvents, AKernelWithoutThemSaysWhatWasLookedFor) {
  Guest guest(test::EventPlace::nowhere);
  const ScxEvents events(*guest.attachment);
  EXPECT_THAT(events.names(), IsEmpty());
  EXPECT_THAT(events.absent(), HasSubstr("none of scx_sched.pcpu->event_stats"));
  guest.kernel.attachScheduler("simple");
  EXPECT_FALSE(events.locate());
}

TEST(ScxEvents, AnotherSchedulerIsNoticed) {
  Guest guest(test::EventPlace::perCpuPart);
  const ScxEvents events(*guest.attachment);
  EXPECT_FALSE(events.locate()) << "none is attached";
  guest.kernel.attachScheduler("simple");
  const auto place = events.locate();
  ASSERT_TRUE(place);
  guest.kernel.put<uint64_t>(guest.kernel.symbolGpa("scx_root"),
                             guest.kernel.direct(guest.kernel.schedulerGpa() + 0x1000));
  EXPECT_FALSE(events.holds(*place));
}

TEST(ScxEvents, WildPointersAndNegativeCountersAreNothing) {
  Guest guest(test::EventPlace::perCpuPart);
  const ScxEvents events(*guest.attachment);
  guest.kernel.attachScheduler("simple");
  guest.kernel.put<uint64_t>(guest.kernel.eventsGpa(0) + eventB, ~uint64_t{0});
  EXPECT_THAT(events.read(events.locate().value(), 0), IsEmpty());
  for (const uint64_t wild : {uint64_t{1}, ~uint64_t{0}, uint64_t{0xdead'beef'dead'beef}}) {
    guest.kernel.put<uint64_t>(guest.kernel.schedulerGpa() + scxSchedPerCpu, wild);
    EXPECT_THAT(events.read(events.locate().value(), 0), IsEmpty());
    guest.kernel.put<uint64_t>(guest.kernel.symbolGpa("scx_root"), wild);
    EXPECT_FALSE(events.locate());
    guest.kernel.attachScheduler("simple");
  }
}

}  // namespace
}  // namespace ktstr
