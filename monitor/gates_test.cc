// Writes to a guest through a gate, with the VMM's and the orchestrator's ends held here.
#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <functional>

#include "monitor/crafted_bpf.h"
#include "monitor/pending_writes.h"
#include "monitor/watchdog_gate.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using test::CraftedKernel;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What happens on the way, and what has happened.
struct Vmm {
  CraftedKernel& guest;
  bool freezes = true, frozen = false;
  std::function<void()> atGrant = [] {}, atFreeze = [] {};
  std::vector<uint64_t> writes = {};  // guest-physical addresses
  size_t refuseAfter = 1000;          // writes
};

class Lease final : public rpc::FreezeLease::Server {
 public:
  explicit Lease(Vmm& vmm) : vmm_(vmm) { vmm_.frozen = true; }
  ~Lease() { vmm_.frozen = false; }

 private:
  Vmm& vmm_;
};

class Observer final : public rpc::Observer::Server {
 public:
  explicit Observer(Vmm& vmm) : vmm_(vmm) {}
  kj::Promise<void> freezeLease(FreezeLeaseContext context) override {
    if (!vmm_.freezes) KJ_FAIL_REQUIRE("not now");
    vmm_.atFreeze();
    context.getResults().setLease(kj::heap<Lease>(vmm_));
    return kj::READY_NOW;
  }

 private:
  Vmm& vmm_;
};

class Gate final : public rpc::WriteGate::Server {
 public:
  explicit Gate(Vmm& vmm) : vmm_(vmm) {}
  kj::Promise<void> write(WriteContext context) override {
    if (vmm_.writes.size() == vmm_.refuseAfter) {
      vmm_.refuseAfter = 1000;
      KJ_FAIL_REQUIRE("refused here");
    }
    EXPECT_TRUE(vmm_.frozen);
    const auto params = context.getParams();
    vmm_.writes.push_back(params.getGpa());
    std::memcpy(vmm_.guest.ram().data() + params.getGpa(), params.getBytes().begin(),
                params.getBytes().size());
    return kj::READY_NOW;
  }

 private:
  Vmm& vmm_;
};

class Grants final : public rpc::WriteGrants::Server {
 public:
  explicit Grants(Vmm& vmm) : vmm_(vmm) {}
  kj::Promise<void> grant(GrantContext context) override {
    vmm_.atGrant();
    context.getResults().setGate(kj::heap<Gate>(vmm_));
    return kj::READY_NOW;
  }

 private:
  Vmm& vmm_;
};

// A map x.bss of eight bytes, and what is wanted of it.
class MapWrites : public ::testing::Test, protected test::CraftedBpf {
 protected:
  static constexpr uint64_t mapGpa = 0x3000, valueGpa = mapGpa + 64;

  MapWrites() {
    map(1, mapGpa, "x.bss", BPF_MAP_TYPE_ARRAY, 4, 8, 1);
    SymbolStorage none;
    none.nameOffsets = {0};
    none.index();
    Analysis::Facts facts;
    facts.layout = layout_;
    attachment_.analysis = std::make_unique<Analysis>(std::move(none), std::move(facts));
    attachment_.kernel = std::make_unique<GuestKernel>(guest_.kernel());
  }

  ~MapWrites() noexcept override {}

  // What is told of each.
  std::vector<std::string> write(unsigned attempts = 1) {
    std::vector<std::string> told;
    PendingWrites pending({{}, {".bss:+0=7", ".bss:+4=8"}}, [&](rpc::MonitorRecord::Reader record) {
      const auto write = record.getMapWrite();
      EXPECT_EQ(write.getFrozenNs() > 0, write.getFailure().size() == 0);
      told.push_back(write.getFailure().size() > 0
                         ? text(write.getFailure().cStr(), ": ", write.getProblem().cStr())
                         : text("was ", write.getBefore(), ", is ", write.getAfter()));
    });
    for (unsigned i = 0; i < attempts && pending.pending(); ++i)
      pending.attempt(io_, attachment_, kj::heap<Observer>(vmm_), kj::heap<Grants>(vmm_));
    EXPECT_FALSE(pending.pending());
    io_.waitScope.poll();
    EXPECT_FALSE(vmm_.frozen);
    return told;
  }
  uint64_t value() const { return *guest_.kernel().read<uint64_t>(CraftedKernel::va(valueGpa)); }

  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  Attachment attachment_;
  Vmm vmm_{guest_};
};

TEST_F(MapWrites, AreMadeWhileTheGuestStandsStill) {
  guest_.put<uint32_t>(valueGpa, 3);
  vmm_.atFreeze = [&] { guest_.put<uint32_t>(valueGpa, 5); };  // it still ran when the write was planned
  EXPECT_THAT(write(), ElementsAre("was 5, is 7", "was 0, is 8"));
  EXPECT_EQ(value(), uint64_t{8} << 32 | 7);
}

TEST_F(MapWrites, ToAMapThatMovesMeanwhileAreNotMade) {
  const auto move = [&] {
    guest_.put<uint32_t>(mapGpa, 0);
    map(1, 0x5000, "y.bss", BPF_MAP_TYPE_ARRAY, 4, 8, 1);
  };
  vmm_.atFreeze = move;
  EXPECT_THAT(write(),
              ElementsAre(HasSubstr("map-moved: a map is no longer where it was"), HasSubstr("held-back")));
  EXPECT_TRUE(vmm_.writes.empty());
  EXPECT_EQ(value(), 0u);
}

TEST_F(MapWrites, ToAMapThatIsFreedMeanwhileAreNotMade) {
  vmm_.atGrant = [&] { guest_.put<uint64_t>(node(test::mapIdr) + 40 + 8, 0); };
  EXPECT_THAT(write(),
              ElementsAre(HasSubstr("map-unknown: no BPF map is called .bss"), HasSubstr("held-back")));
  EXPECT_TRUE(vmm_.writes.empty());
}

TEST_F(MapWrites, ToAGuestThatCannotStandStillAreNotMade) {
  vmm_.freezes = false;
  EXPECT_THAT(write(), ElementsAre(HasSubstr("freeze-failed: "), HasSubstr("held-back")));
  EXPECT_TRUE(vmm_.writes.empty());
}

TEST_F(MapWrites, ThatAreRefusedAreUndone) {
  guest_.put<uint32_t>(valueGpa, 3);
  vmm_.refuseAfter = 1;
  EXPECT_THAT(write(), ElementsAre(HasSubstr("write-refused: "), HasSubstr("held-back")));
  EXPECT_THAT(vmm_.writes, ElementsAre(valueGpa, valueGpa)) << "once to write, once to put back";
  EXPECT_EQ(value(), 3u);
}

TEST_F(MapWrites, ThatCannotBePlannedAreTriedTenTimes) {
  guest_.put<uint64_t>(node(test::mapIdr) + 40 + 8, 0);
  EXPECT_THAT(write(10), ElementsAre(HasSubstr("map-unknown"), HasSubstr("held-back")));
}

// The timeout of a scheduler at 0x2000 lies at 40, 250 ticks a second.
class WatchdogWrites : public ::testing::Test {
 protected:
  static constexpr uint64_t root = 0x1000, stamp = 0x1010, interval = 0x1018, jiffies = 0x1020, tick = 0x1028,
                            timeout = 0x2028;
  WatchdogWrites() {
    guest_.point(root, 0x2000);
    guest_.put<uint32_t>(tick, 4'000'000u << 8);
    guest_.put<uint32_t>(tick + 4, 8);
    guest_.put<uint64_t>(jiffies, 5000);
    guest_.put<uint64_t>(stamp, 4900);
    guest_.put<uint64_t>(timeout, 7500);
    guest_.put<uint64_t>(interval, 3750);
    SymbolStorage none;
    none.nameOffsets = {0};
    none.index();
    Analysis::Facts facts;
    facts.layout = KernelLayout::fromText(
                       "member clocksource.mult 0 4\nmember clocksource.shift 4 4\n"
                       "member scx_sched.watchdog_timeout 40 8\n")
                       .value();
    attachment_.analysis = std::make_unique<Analysis>(std::move(none), std::move(facts));
    attachment_.kernel = std::make_unique<GuestKernel>(guest_.kernel());
  }
  ~WatchdogWrites() noexcept override {}

  // The failure; "" if it was written.
  std::string write() {
    std::string failure = "nothing was told";
    WatchdogGate gate(
        attachment_, 2000, kj::heap<Observer>(vmm_), kj::heap<Grants>(vmm_),
        [&](rpc::MonitorRecord::Reader record) { failure = record.getWatchdog().getFailure(); });
    gate.attempt(io_.waitScope);
    return failure;
  }
  uint64_t word(uint64_t gpa) const { return *guest_.kernel().read<uint64_t>(CraftedKernel::va(gpa)); }

  CraftedKernel guest_{0x4000,
                       {{"scx_root", root},
                        {"scx_watchdog_timestamp", stamp},
                        {"scx_watchdog_interval", interval},
                        {"jiffies_64", jiffies},
                        {"clocksource_jiffies", tick}}};
  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  Attachment attachment_;
  Vmm vmm_{guest_};
};

TEST_F(WatchdogWrites, SetAllWords) {
  EXPECT_EQ(write(), "");
  EXPECT_EQ(word(stamp), 5000u);
  EXPECT_EQ(word(timeout), 500u);
  EXPECT_EQ(word(interval), 250u);
}

TEST_F(WatchdogWrites, ThatAreRefusedAreUndone) {
  for (const size_t made : {1u, 2u}) {
    vmm_.writes.clear();
    vmm_.refuseAfter = made;
    EXPECT_EQ(write(), "write-refused");
    EXPECT_EQ(vmm_.writes.size(), 2 * made);
    EXPECT_EQ(word(stamp), 4900u);
    EXPECT_EQ(word(timeout), 7500u);
    EXPECT_EQ(word(interval), 3750u);
  }
}

}  // namespace
}  // namespace ktstr
