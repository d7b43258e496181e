// The parts of a sample that a kernel may not have: schedstat, the fair class, scheduling domains.
#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/sampler.h"
#include "monitor/test_kernel.h"

namespace ktstr {
namespace {

using namespace test::offsets;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t lowGpa = 0x50'0000, highGpa = 0x50'1000, nameGpa = 0x50'2000;

class SamplerGroups : public ::testing::Test {
 protected:
  SamplerGroups() {
    Attacher attacher(ram_, {}, {});
    attachment_ = attacher.attempt();
    EXPECT_TRUE(attachment_) << attacher.reason();
    sampler_.emplace(*attachment_);
  }
  ~SamplerGroups() noexcept override {}

  rpc::CpuSample::Reader cpu(unsigned number) {
    message_.emplace();
    auto sample = message_->initRoot<rpc::Sample>();
    sampler_->sample(sample);
    return sample.asReader().getCpus()[number];
  }
  static std::vector<uint32_t> numbers(capnp::List<uint32_t>::Reader list) {
    std::vector<uint32_t> all;
    for (const uint32_t number : list) all.push_back(number);
    return all;
  }
  // Two domains of CPU 1.
  void makeDomains() {
    guest_.putText(nameGpa, std::string("SMT\0MC\0", 7));
    for (const auto& [gpa, level, span, name] :
         {std::tuple{lowGpa, 0u, 2u, nameGpa}, {highGpa, 1u, 4u, nameGpa + 4}}) {
      guest_.put<uint64_t>(gpa + domainParent, gpa == lowGpa ? guest_.direct(highGpa) : 0);
      guest_.put<uint32_t>(gpa + domainLevel, level);
      guest_.put<uint32_t>(gpa + domainSpan, span);
      guest_.put<uint64_t>(gpa + domainName, guest_.direct(name));
    }
    guest_.put<uint64_t>(guest_.rqGpa(1) + rqDomain, guest_.direct(lowGpa));
  }

  test::TestKernel guest_;
  RamFile ram_ = guest_.ram();
  std::optional<Attachment> attachment_;
  std::optional<Sampler> sampler_;
  std::optional<capnp::MallocMessageBuilder> message_;
};

TEST_F(SamplerGroups, SchedstatAndFairClass) {
  const uint64_t rq = guest_.rqGpa(1);
  for (uint32_t i = 0; i < 5; ++i) guest_.put<uint32_t>(rq + rqSchedstat + 4 * i, 100 + i);
  guest_.put<uint64_t>(rq + rqSchedInfo, 7);
  guest_.put<uint64_t>(rq + rqSchedInfo + 8, 12'345'678'901);
  guest_.put<uint64_t>(rq + rqCpuTime, 98'765'432'109);
  guest_.put<uint64_t>(rq + rqCfs, 3072);
  guest_.put<uint32_t>(rq + rqCfs + 8, 2);
  guest_.put<uint32_t>(rq + rqCfs + 12, 3);
  const auto seen = cpu(1);
  ASSERT_TRUE(seen.hasSchedstat());
  const auto schedstat = seen.getSchedstat();
  EXPECT_EQ(schedstat.getYldCount(), 100u);
  EXPECT_EQ(schedstat.getSchedCount(), 101u);
  EXPECT_EQ(schedstat.getSchedGoidle(), 102u);
  EXPECT_EQ(schedstat.getTtwuCount(), 103u);
  EXPECT_EQ(schedstat.getTtwuLocal(), 104u);
  EXPECT_EQ(schedstat.getPcount(), 7u);
  EXPECT_EQ(schedstat.getRunDelayNs(), 12'345'678'901u);
  EXPECT_EQ(schedstat.getCpuTimeNs(), 98'765'432'109u);
  ASSERT_TRUE(seen.hasCfs());
  EXPECT_EQ(seen.getCfs().getNrQueued(), 2u);
  EXPECT_EQ(seen.getCfs().getHNrQueued(), 3u);
  EXPECT_EQ(seen.getCfs().getLoadWeight(), 3072u);
  guest_.put<uint32_t>(rq + rqCfs + 8, 0xffff'ffff);
  EXPECT_FALSE(cpu(1).hasCfs()) << "more tasks than there can be";
  EXPECT_TRUE(cpu(1).hasSchedstat());
}

TEST_F(SamplerGroups, DomainsAreToldWhenTheyChange) {
  EXPECT_EQ(cpu(1).getDomains().size(), 0u);
  makeDomains();
  guest_.put<uint32_t>(highGpa + domainCount + 4, 17);
  guest_.put<uint32_t>(highGpa + domainCount + 12 + 8, 5);
  const auto domains = cpu(1).getDomains();
  ASSERT_EQ(domains.size(), 2u);
  EXPECT_EQ(domains[0].getName(), "SMT");
  EXPECT_EQ(domains[0].getSpanWeight(), 2u);
  EXPECT_EQ(domains[1].getName(), "MC");
  EXPECT_EQ(domains[1].getLevel(), 1u);
  EXPECT_EQ(domains[1].getSpanWeight(), 4u);
  EXPECT_THAT(numbers(domains[1].getLbCount()), ElementsAre(0, 17, 0));
  EXPECT_THAT(numbers(domains[1].getLbFailed()), ElementsAre(0, 0, 5));
  EXPECT_EQ(cpu(1).getDomains().size(), 0u) << "not told again";
  guest_.put<uint32_t>(lowGpa + domainCount, 1);
  EXPECT_EQ(cpu(1).getDomains().size(), 2u);
  EXPECT_EQ(cpu(0).getDomains().size(), 0u) << "that CPU has none";
}

TEST_F(SamplerGroups, DomainsHaveAllCountersThatTheKernelHas) {
  EXPECT_THAT(sampler_->domainStatNames(),
              ElementsAre("lb_gained[0]", "lb_gained[1]", "lb_gained[2]", "alb_count", "newidle_ratio"));
  makeDomains();
  for (uint32_t i = 0; i < 5; ++i) guest_.put<uint32_t>(highGpa + domainStats + 4 * i, 100 + i);
  EXPECT_THAT(numbers(cpu(1).getDomains()[1].getStats()), ElementsAre(100, 101, 102, 103, 104));
  guest_.put<uint32_t>(highGpa + domainStats + 12, 7);
  EXPECT_THAT(numbers(cpu(1).getDomains()[1].getStats()), ElementsAre(100, 101, 102, 7, 104));
}

TEST_F(SamplerGroups, WhatIsNoTreeOfDomainsIsLeftOut) {
  makeDomains();
  EXPECT_EQ(cpu(1).getDomains().size(), 2u);
  guest_.put<uint64_t>(highGpa + domainParent, guest_.direct(lowGpa));  // a circle
  EXPECT_EQ(cpu(1).getDomains().size(), 0u);
  guest_.put<uint64_t>(highGpa + domainParent, 0xdead'beef'dead'beef);
  EXPECT_EQ(cpu(1).getDomains().size(), 0u);
  guest_.put<uint64_t>(highGpa + domainParent, 0);
  guest_.put<uint32_t>(highGpa + domainSpan, 0);  // freed
  EXPECT_EQ(cpu(1).getDomains().size(), 0u);
  guest_.put<uint32_t>(highGpa + domainSpan, 3);
  EXPECT_EQ(cpu(1).getDomains().size(), 2u);
}

TEST(MemberGroup, AllOrNothingWithAlternatives) {
  const auto layout =
      KernelLayout::fromText(
          "member rq.a 8 4\nmember rq.old 16 8\nmember rq.wide 24 16\nabsent rq.new no member new\n")
          .value();
  const auto older = findGroup(layout, "group", {"rq.a", "rq.new", "|rq.old"});
  EXPECT_EQ(older.absent, "");
  EXPECT_THAT(older.fields, ElementsAre(Field{8, 4}, Field{16, 8}));
  const auto none = findGroup(layout, "group", {"rq.new", "|rq.newer", "rq.a"});
  EXPECT_EQ(none.absent, "group: rq.new: no member new");
  EXPECT_TRUE(none.fields.empty());
  EXPECT_THAT(findGroup(layout, "group", {"rq.a", "rq.wide"}).absent, HasSubstr("rq.wide: is 16 bytes long"));
  EXPECT_EQ(findGroup(layout, "group", {"rq.a", "|rq.new"}).fields.size(), 1u) << "not needed";
}

}  // namespace
}  // namespace ktstr
