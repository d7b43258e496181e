#include "monitor/scx_programs.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <memory>

#include "monitor/crafted_bpf.h"

namespace ktstr {
namespace {

using namespace test;
using ::testing::HasSubstr;

constexpr uint64_t root = 0x400, scheduler = 0x3000, otherMap = 0x3400, opsMap = 0x3800, links = 0x3c00,
                   perCpu = 0x4000;
constexpr const char* schedulerLayout =
    "member scx_sched.ops.select_cpu 16 8\nmember scx_sched.ops.dispatch_max_batch 48 4\n"
    "member bpf_struct_ops_map.kvalue.data 128 0\nmember bpf_struct_ops_map.links 96 8\n"
    "member bpf_struct_ops_map.funcs_cnt 104 4\nmember bpf_link.prog 24 8\n";

// A scheduler with the programs "dispatch" (two functions) and "enqueue".
class ScxProgramsTest : public ::testing::Test, protected CraftedBpf {
 protected:
  ScxProgramsTest() : CraftedBpf({{"scx_root", root}}, schedulerLayout) {
    guest_.point(root, scheduler);
    map(1, otherMap, "other", BPF_MAP_TYPE_STRUCT_OPS, 4, 64, 1);
    map(2, opsMap, "simple_ops", BPF_MAP_TYPE_STRUCT_OPS, 4, 64, 1);
    for (uint64_t i = 0; i < 3; ++i) {
      for (const uint64_t table : {scheduler + 16, opsMap + 128})
        guest_.put<uint64_t>(table + 8 * i, 0xffff'0000 + i);
      guest_.put<uint64_t>(otherMap + 128 + 8 * i, 0xeeee'0000 + i);
    }
    guest_.point(opsMap + 96, links);
    guest_.put<uint32_t>(opsMap + 104, 4);
    program(0, 0x5000, 11, "dispatch");
    program(1, 0x5000, 11, "dispatch");
    program(3, 0x5800, 12, "enqueue");
  }
  void program(uint32_t function, uint64_t gpa, uint32_t id, std::string_view name) {
    const uint64_t link = gpa + 0x100 + 0x40 * function, aux = gpa + 0x80;
    guest_.point(links + 8 * function, link);
    guest_.point(link + 24, gpa);
    guest_.put<uint32_t>(gpa, BPF_PROG_TYPE_STRUCT_OPS);
    guest_.point(gpa + 8, aux);
    guest_.put<uint64_t>(gpa + 16, perCpu + 0x20 * id);
    guest_.put<uint32_t>(aux, id);
    guest_.putBytes(aux + 8, name);
  }
  void ran(uint32_t id, uint32_t cpu, uint64_t runs, uint64_t nanos) {
    const uint64_t stats = perCpu + 0x20 * id + (cpu == 0 ? 0x8000 : 0x1'0000);
    guest_.put<uint64_t>(stats, runs);
    guest_.put<uint64_t>(stats + 8, nanos);
  }
  capnp::List<rpc::ProgSample>::Reader sample() {
    message_ = std::make_unique<capnp::MallocMessageBuilder>();
    auto out = message_->initRoot<rpc::Sample>();
    programs_.sample(out);
    return out.asReader().getProgs();
  }

  ScxPrograms programs_{guest_.kernel(), layout_};
  std::unique_ptr<capnp::MallocMessageBuilder> message_;
};

TEST_F(ScxProgramsTest, RunsOfTheAttachedSchedulersPrograms) {
  EXPECT_EQ(programs_.absent(), "");
  ran(11, 0, 5, 5000);
  ran(11, 1, 2, 700);
  const auto seen = sample();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].getId(), 11u);
  EXPECT_EQ(seen[0].getName(), "dispatch");
  EXPECT_EQ(seen[0].getRuns(), 7u);
  EXPECT_EQ(seen[0].getNanos(), 5700u);
  EXPECT_EQ(seen[1].getName(), "enqueue");
  ran(12, 1, 9, 90);
  EXPECT_EQ(sample()[1].getRuns(), 9u);
}

TEST_F(ScxProgramsTest, AreFoundAgainForTheNextScheduler) {
  EXPECT_EQ(sample().size(), 2u);
  guest_.put<uint32_t>(0x5080, 21);  // in its place, another program
  const auto seen = sample();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].getId(), 21u);
  guest_.put<uint64_t>(root, 0);
  EXPECT_EQ(sample().size(), 0u) << "none is attached";
  guest_.point(root, scheduler + 0x100);
  EXPECT_EQ(sample().size(), 0u) << "no map has its functions";
  for (uint64_t i = 0; i < 3; ++i) guest_.put<uint64_t>(scheduler + 0x100 + 16 + 8 * i, 0xffff'0000 + i);
  EXPECT_EQ(sample().size(), 2u);
}

TEST_F(ScxProgramsTest, WildPointersAreNoPrograms) {
  guest_.put<uint32_t>(opsMap + 104, 0xffff'ffff);
  guest_.put<uint64_t>(links + 16, 0xdead'beef'dead'beef);
  guest_.put<uint64_t>(links, 1);
  EXPECT_EQ(sample().size(), 2u);
  guest_.put<uint64_t>(opsMap + 96, ~uint64_t{0});
  guest_.put<uint32_t>(0x5880, 99);
  EXPECT_EQ(sample().size(), 0u);
}

TEST_F(ScxProgramsTest, GivesUpAndSaysSo) {
  const auto incomplete = [&] {
    return std::string(message_->getRoot<rpc::Sample>().getIncomplete().cStr());
  };
  guest_.point(root, scheduler + 0x100);
  for (unsigned i = 0; i < 15; ++i) {
    EXPECT_EQ(sample().size(), 0u);
    EXPECT_EQ(incomplete(), "") << i;
  }
  EXPECT_EQ(sample().size(), 0u);
  EXPECT_THAT(incomplete(), HasSubstr("progs: no struct_ops map with the functions of the scheduler"));
  guest_.point(root, scheduler);
  EXPECT_EQ(sample().size(), 2u);
  EXPECT_EQ(incomplete(), "");
}

TEST_F(ScxProgramsTest, AKernelWithoutThemSaysWhatItLacks) {
  const auto layout = KernelLayout::fromText(text(walkLayout, bpfLayout)).value();
  EXPECT_THAT(ScxPrograms(guest_.kernel(), layout).absent(), HasSubstr("programs: scx_sched.ops.select_cpu"));
}

}  // namespace
}  // namespace ktstr
