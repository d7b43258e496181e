#include "guest/agent/system.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include "guest/agent/failure.h"

namespace ktstr::agent {
namespace {

TEST(CommandLineTest, FindsTheMailbox) {
  const CommandLine line =
      parseCommandLine("quiet ktstr.mailbox=0x1c000000,0x400000 ktstr.inject=hang lpj=1\n");
  EXPECT_EQ(line.mailboxGpa, 0x1c000000U);
  EXPECT_EQ(line.mailboxSize, 0x400000U);
  EXPECT_EQ(line.inject, "hang");
  EXPECT_FALSE(line.lateCpus);
  EXPECT_TRUE(parseCommandLine("maxcpus=1 ktstr.late_cpus ktstr.mailbox=0x1c000000,0x400000").lateCpus);
  EXPECT_FALSE(parseCommandLine("ktstr.late_cpusx ktstr.mailbox=0x1c000000,0x400000").lateCpus);
}

TEST(CommandLineTest, RefusesOthers) {
  for (const char* line : {"", "quiet", "ktstr.mailbox=", "ktstr.mailbox=0x1000", "ktstr.mailbox=0x1000,",
                           "ktstr.mailbox=1000,0x1000", "ktstr.mailbox=0x1001,0x1000",
                           "ktstr.mailbox=0x1000,0x0", "ktstr.mailbox=0x1000,0x10000000000",
                           "ktstr.mailbox=0x1000,0x1000x", "ktstr.mailbox=0x11111111111111111,0x1000"}) {
    EXPECT_THROW(parseCommandLine(line), Failure) << line;
  }
}

TEST(FactsTest, DescribesThisMachine) {
  capnp::MallocMessageBuilder message;
  auto facts = message.initRoot<rpc::GuestFacts>();
  fillFacts(facts, 7);
  EXPECT_GT(facts.getRelease().size(), 0U);
  EXPECT_GT(facts.getCpusOnline(), 0U);
  EXPECT_GT(facts.getMemTotalKib(), 0U);
  EXPECT_EQ(facts.getUptimeMs(), 7U);
}

TEST(DoorbellTest, IsNoneWithoutAPort) {
  EXPECT_FALSE(openDoorbell("/dev/no-such-port"));
  EXPECT_FALSE(openDoorbell("/dev/null"));
}

TEST(FailureTest, NamesAreTheSchemas) {
  EXPECT_EQ(failureText(FailureName::WORKER_CRASHED), "workerCrashed");
}

}  // namespace
}  // namespace ktstr::agent
