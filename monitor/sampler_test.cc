#include "monitor/sampler.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "monitor/test_kernel.h"

namespace ktstr {
namespace {

using namespace test::offsets;
using ::testing::ElementsAre;

class SamplerTest : public ::testing::Test {
 protected:
  SamplerTest() {
    Attacher attacher(ram_, {}, {});
    attachment_ = attacher.attempt();
    EXPECT_TRUE(attachment_) << attacher.reason();
    sampler_.emplace(*attachment_);
  }
  ~SamplerTest() noexcept override {}

  rpc::Sample::Reader sample() {
    message_.emplace();
    auto sample = message_->initRoot<rpc::Sample>();
    sampler_->sample(sample);
    return sample.asReader();
  }
  test::TestKernel guest_;
  RamFile ram_ = guest_.ram();
  std::optional<Attachment> attachment_;
  std::optional<Sampler> sampler_;
  std::optional<capnp::MallocMessageBuilder> message_;
};

TEST_F(SamplerTest, ReadsRunqueuesAndTasks) {
  guest_.run(1, 10, 118, "yes", 3, 593788178947);
  guest_.put<uint32_t>(guest_.rqGpa(1) + rqScx + scxNrRunning, 2);
  guest_.put<uint32_t>(guest_.rqGpa(1) + rqScx + scxFlags, 0x11);
  guest_.put<uint32_t>(guest_.rqGpa(1) + rqScx + scxLocalDsq + dsqNr, 7);
  const auto out = sample();
  EXPECT_EQ(out.getJiffies(), 4294937296u);
  ASSERT_EQ(out.getCpus().size(), 4u);
  EXPECT_EQ(out.getCpus()[0].getCurrComm(), "swapper/0");
  const auto cpu = out.getCpus()[1];
  EXPECT_TRUE(cpu.getValid());
  EXPECT_TRUE(cpu.getScxValid());
  EXPECT_FALSE(cpu.getTorn());
  EXPECT_EQ(cpu.getCpu(), 1u);
  EXPECT_EQ(cpu.getNrRunning(), 3u);
  EXPECT_EQ(cpu.getClock(), 593788178947u);
  EXPECT_EQ(cpu.getCurrPid(), 118);
  EXPECT_EQ(cpu.getCurrComm(), "yes");
  EXPECT_EQ(cpu.getScxNrRunning(), 2u);
  EXPECT_EQ(cpu.getScxFlags(), 0x11u);
  EXPECT_EQ(cpu.getLocalDsqDepth(), 7u);
}

TEST_F(SamplerTest, WhetherAnIdleCpuHasDoneWhatItWasAskedFor) {
  const auto asked = [&](unsigned cpu) { return sample().getCpus()[cpu].getAsked(); };
  const uint64_t flags = guest_.taskGpa(1) + taskFlags;
  const uint64_t calls =
      guest_.rqGpa(1) + guest_.symbolGpa("call_single_queue") - guest_.symbolGpa("runqueues");
  EXPECT_FALSE(asked(1));
  for (const unsigned bit : {3u, 4u}) {  // TIF_NEED_RESCHED of either kind
    guest_.put<uint64_t>(flags, uint64_t{1} << bit);
    EXPECT_TRUE(asked(1)) << bit;
    EXPECT_FALSE(asked(2)) << bit;
  }
  guest_.put<uint64_t>(flags, ~uint64_t{0x18});
  EXPECT_FALSE(asked(1));
  guest_.put<uint64_t>(calls, guest_.direct(0x1000));
  EXPECT_TRUE(asked(1));
  guest_.run(1, 1, 118, "yes", 1, 1000);
  EXPECT_FALSE(asked(1)) << "it does not idle";
}

TEST_F(SamplerTest, SchedulerStateAndName) {
  EXPECT_TRUE(sample().getScx().getPresent());
  EXPECT_EQ(sample().getScx().getState(), rpc::ScxState::DISABLED);
  EXPECT_EQ(sample().getScx().getOpsName(), "");
  guest_.attachScheduler("simple");
  EXPECT_EQ(sample().getScx().getState(), rpc::ScxState::ENABLED);
  EXPECT_EQ(sample().getScx().getOpsName(), "simple");
  guest_.put<uint32_t>(guest_.symbolGpa("scx_enable_state_var"), 77);
  EXPECT_EQ(sample().getScx().getState(), rpc::ScxState::UNKNOWN);
}

TEST_F(SamplerTest, EventCountersOfTheSchedulerThatIsAttached) {
  EXPECT_THAT(sampler_->scxEventNames(), ElementsAre("SCX_EV_A", "SCX_EV_B"));
  EXPECT_EQ(sample().getCpus()[0].getScxEvents().size(), 0u) << "none is attached";
  guest_.attachScheduler("simple");
  guest_.put<uint64_t>(guest_.eventsGpa(2) + eventB, 17);
  const auto events = sample().getCpus()[2].getScxEvents();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0], 0u);
  EXPECT_EQ(events[1], 17u);
  guest_.put<uint32_t>(guest_.symbolGpa("scx_enable_state_var"), 3);
  EXPECT_EQ(sample().getCpus()[2].getScxEvents().size(), 0u) << "no longer attached";
}

TEST_F(SamplerTest, WildPointersMakeInvalidNotWrong) {
  guest_.put<uint64_t>(guest_.rqGpa(2) + rqCurr, 0xdead'beef'dead'beef);
  guest_.put<uint64_t>(guest_.rqGpa(3) + rqCurr, guest_.direct(test::TestKernel::ramBytes - 16));
  guest_.put<uint64_t>(guest_.symbolGpa("scx_root"), 0x1000);
  const auto out = sample();
  EXPECT_TRUE(out.getCpus()[1].getValid());
  EXPECT_FALSE(out.getCpus()[2].getValid());
  EXPECT_EQ(out.getCpus()[2].getNrRunning(), 0u);
  EXPECT_FALSE(out.getCpus()[3].getValid());
  EXPECT_EQ(out.getScx().getOpsName(), "");
}

TEST_F(SamplerTest, ImplausibleCountsAreNotValid) {
  guest_.put<uint32_t>(guest_.rqGpa(0) + rqNrRunning, 0xffff'ffff);
  guest_.put<uint32_t>(guest_.rqGpa(1) + rqScx + scxLocalDsq + dsqNr, 0xffff'ffff);
  const auto out = sample();
  EXPECT_FALSE(out.getCpus()[0].getValid());
  EXPECT_TRUE(out.getCpus()[1].getValid());
  EXPECT_FALSE(out.getCpus()[1].getScxValid());
}

TEST_F(SamplerTest, TextIsMadeHarmless) {
  guest_.run(0, 10, 5, "a\x1b[31m\xff", 1, 1);
  guest_.attachScheduler(std::string(128, 'x'));
  const auto out = sample();
  EXPECT_EQ(out.getCpus()[0].getCurrComm(), "a?[31m?");
  EXPECT_EQ(out.getScx().getOpsName(), "") << "not terminated";
}

TEST_F(SamplerTest, CpusThatComeUpLater) {
  test::KernelOptions options;
  test::TestKernel late(options);
  late.put<uint64_t>(late.symbolGpa("__per_cpu_offset") + 8 * 3, 0);
  const auto ram = late.ram();
  Attacher attacher(ram, {}, {});
  const auto attachment = attacher.attempt();
  ASSERT_TRUE(attachment) << attacher.reason();
  Sampler sampler(*attachment);
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::Sample>();
  sampler.sample(out);
  EXPECT_FALSE(out.getCpus()[3].getValid());
  late.put<uint64_t>(late.symbolGpa("__per_cpu_offset") + 8 * 3,
                     late.direct(late.rqGpa(3)) - late.symbolVa("runqueues"));
  sampler.sample(out);
  EXPECT_TRUE(out.getCpus()[3].getValid());
}

TEST_F(SamplerTest, ARunqueueThatChangesWithoutPauseIsTorn) {
  std::atomic<bool> stop = false;
  std::thread kernel([&] {
    for (uint64_t clock = 1; !stop; ++clock) guest_.put<uint64_t>(guest_.rqGpa(0) + rqClock, clock);
  });
  bool torn = false;  // the thread may have no CPU for a while
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
       !torn && std::chrono::steady_clock::now() < end;)
    torn = sample().getCpus()[0].getTorn();
  stop = true;
  kernel.join();
  EXPECT_TRUE(torn);
  EXPECT_FALSE(sample().getCpus()[0].getTorn());
}

// A clock is odd while the rest is being changed.
TEST_F(SamplerTest, WhatIsWholeIsOfOneMoment) {
  const auto word = [&](uint64_t offset) { return guest_.bytes().data() + guest_.rqGpa(0) + offset; };
  auto* const clock = reinterpret_cast<uint64_t*>(word(rqClock));
  auto* const running = reinterpret_cast<uint32_t*>(word(rqNrRunning));
  std::atomic<bool> stop = false;
  std::thread kernel([&] {
    for (uint32_t n = 500; !stop; n = n % 1000 + 1) {
      __atomic_store_n(clock, *clock | 1, __ATOMIC_SEQ_CST);
      __atomic_store_n(running, n, __ATOMIC_SEQ_CST);
      __atomic_store_n(clock, (*clock / 4096 + 1) * 4096 + 2 * n, __ATOMIC_SEQ_CST);
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  });
  unsigned whole = 0, mixed = 0;
  for (unsigned i = 0; i < 20'000 && whole < 2000; ++i) {
    const auto cpu = sample().getCpus()[0];
    if (cpu.getTorn() || cpu.getClock() % 2 == 1 || cpu.getClock() < 4096) continue;
    ++whole;
    if (cpu.getNrRunning() != cpu.getClock() % 4096 / 2) ++mixed;
  }
  stop = true;
  kernel.join();
  EXPECT_GT(whole, 0u);
  EXPECT_EQ(mixed, 0u);
}

TEST_F(SamplerTest, AllPresentButPrograms) {
  EXPECT_THAT(sampler_->absent(), ElementsAre(::testing::StartsWith("programs: ")));
}

}  // namespace
}  // namespace ktstr
