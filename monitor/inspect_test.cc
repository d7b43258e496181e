#include "monitor/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/test_kernel.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A kernel without BPF and without tasks' lists: tests/system/monitor_test.cc has those that have them.
class InspectTest : public ::testing::Test {
 protected:
  InspectTest() {
    Attacher attacher(ram_, {}, {});
    attachment_ = attacher.attempt();
    EXPECT_TRUE(attachment_) << attacher.reason();
  }
  Findings look(const std::string& command, std::vector<std::string> arguments = {}) {
    return inspect(*attachment_, {command, std::move(arguments)});
  }
  std::string json(const std::string& command, std::vector<std::string> arguments = {}) {
    return asJsonLines(look(command, std::move(arguments)).records);
  }
  std::string refusal(const std::string& command, std::vector<std::string> arguments) {
    try {
      return json(command, std::move(arguments));
    } catch (const Error& error) {
      return error.name();
    }
  }
  test::TestKernel guest_;
  RamFile ram_ = guest_.ram();
  std::optional<Attachment> attachment_;
};

TEST_F(InspectTest, SymbolsBothWays) {
  const std::string address = hex(guest_.symbolVa("scx_root"));
  EXPECT_EQ(json("symbol", {"scx_root"}), "{\"address\":\"" + address + "\",\"symbol\":\"scx_root\"}\n");
  EXPECT_EQ(json("symbol", {address}), json("symbol", {"scx_root"}));
  EXPECT_THAT(json("symbol", {hex(guest_.symbolVa("scx_root") + 3)}), HasSubstr("scx_root+0x3"));
  EXPECT_EQ(refusal("symbol", {"nothing"}), "symbol-unknown");
  EXPECT_EQ(refusal("symbol", {"0x12g"}), "address-invalid");
}

TEST_F(InspectTest, ValuesOfKernelTypes) {
  guest_.attachScheduler("simple");
  EXPECT_THAT(json("read", {"*scx_root", "struct scx_sched", "ops.name"}),
              HasSubstr("\"value\":\"simple\"}"));
  guest_.run(1, 10, 118, "yes", 3, 1000);
  EXPECT_THAT(json("read", {hex(guest_.direct(guest_.taskGpa(10))), "task_struct"}),
              HasSubstr(R"("value":{"thread_info":{"flags":0},"pid":118,"comm":"yes"}})"));
  EXPECT_EQ(refusal("read", {"0x1000", "task_struct"}), "not-in-memory");
  EXPECT_EQ(refusal("read", {"*0x1000", "task_struct"}), "not-in-memory");
  EXPECT_EQ(refusal("read", {"scx_root", "no_type"}), "type-unknown");
  EXPECT_EQ(refusal("read", {"scx_root", "task_struct", "nope"}), "path-invalid");
}

TEST_F(InspectTest, ACpusCopyOfAPerCpuVariable) {
  guest_.run(2, 10, 118, "yes", 3, 5);
  EXPECT_THAT(json("read", {"runqueues@2", "rq", "nr_running"}), HasSubstr(R"("value":3)"));
  EXPECT_THAT(json("read", {"runqueues@1", "rq", "nr_running"}), HasSubstr(R"("value":0)"));
  EXPECT_EQ(refusal("read", {"runqueues@x", "rq"}), "address-invalid");
  EXPECT_EQ(refusal("read", {"runqueues@", "rq"}), "address-invalid");
  EXPECT_EQ(refusal("read", {"nothing@0", "rq"}), "symbol-unknown");
  EXPECT_EQ(refusal("read", {"runqueues@4", "rq"}), "not-in-memory");
  EXPECT_EQ(refusal("read", {"runqueues@99999", "rq"}), "not-in-memory");
}

TEST_F(InspectTest, TypesWithTheirMembers) {
  EXPECT_THAT(json("type", {"with_bits"}),
              HasSubstr(R"({"offset":0,"size":4,"bits":5,"type":"unsigned int","name":"narrow"})"));
  EXPECT_EQ(json("type", {"rq", "clock"}), "{\"type\":\"unsigned long long\",\"size\":8}\n");
}

TEST_F(InspectTest, EventCounters) {
  EXPECT_THAT(look("events").problems, ElementsAre("no sched_ext scheduler is attached"));
  guest_.attachScheduler("simple");
  guest_.put<uint64_t>(guest_.eventsGpa(0) + test::offsets::eventB, 40);
  guest_.put<uint64_t>(guest_.eventsGpa(3) + test::offsets::eventB, 2);
  EXPECT_EQ(json("events"),
            "{\"name\":\"SCX_EV_A\",\"total\":0,\"cpus\":[0,0,0,0]}\n"
            "{\"name\":\"SCX_EV_B\",\"total\":42,\"cpus\":[40,0,0,2]}\n");
  EXPECT_EQ(asTable(look("events").records),
            "name      total  cpus\nSCX_EV_A  0      0 0 0 0\nSCX_EV_B  42     40 0 0 2\n");
}

TEST_F(InspectTest, WhatIsNotThereIsNamed) {
  EXPECT_THAT(look("maps").problems, ElementsAre("bpf_map.id: no struct bpf_map"));
  EXPECT_THAT(look("progs").problems, ElementsAre("bpf_prog.aux: no struct bpf_prog"));
  EXPECT_THAT(look("tasks").problems, ElementsAre("no symbol init_task"));
  EXPECT_EQ(refusal("map", {".bss"}), "map-unknown");
  EXPECT_EQ(refusal("progs", {"nope"}), "program-unknown");
  EXPECT_EQ(asTable({}), "");
}

}  // namespace
}  // namespace ktstr
