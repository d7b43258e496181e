// In children of the test: what they set stays with them.
#include "guest/agent/worker_setup.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <memory>

#include "protocol/fd.h"
#include "protocol/json.h"

namespace ktstr::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// What the child says: "ok", or the failure's message.
std::string inChild(const std::function<void()>& part) {
  SetupNotes notes(1);
  const pid_t child = fork();
  if (child == 0) {
    try {
      part();
      notes.leave(0, "ok");
    } catch (const Failure& failure) {
      notes.leave(0, failureText(failure.name) + ": " + failure.message);
    }
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  return notes.read(0).value_or("nothing");
}

class WorkerSetupTest : public ::testing::Test {
 protected:
  WorkerSettings settings(const std::string& work, const std::string& defaults = "{}") {
    work_ = std::make_unique<capnp::MallocMessageBuilder>();
    defaults_ = std::make_unique<capnp::MallocMessageBuilder>();
    auto spec = work_->initRoot<rpc::WorkSpec>();
    fromJson(work, spec);
    auto cgroup = defaults_->initRoot<rpc::CgroupDef>();
    fromJson(defaults, cgroup);
    return settingsOf(spec, cgroup);
  }

 private:
  std::unique_ptr<capnp::MallocMessageBuilder> work_, defaults_;
};

TEST_F(WorkerSetupTest, TakesTheCgroupsDefaultsWhereItHasNoneOfItsOwn) {
  WorkerSettings none = settings("{}", R"({"nice":3,"comm":"tenant","uid":5,"gid":6})");
  EXPECT_EQ(none.nice, 3);
  EXPECT_EQ(none.comm, "tenant");
  EXPECT_EQ(none.uid, 5U);
  EXPECT_EQ(none.gid, 6U);
  const WorkerSettings own =
      settings(R"({"nice":-1,"comm":"x","uid":7,"gid":8})", R"({"nice":3,"comm":"y","uid":5})");
  EXPECT_EQ(own.nice, -1);
  EXPECT_EQ(own.comm, "x");
  EXPECT_EQ(own.uid, 7U);
  EXPECT_EQ(own.gid, 8U);
  EXPECT_EQ(settings(R"({"policy":{"fifo":3}})", R"({"nice":3})").nice, 0) << "FIFO has no nice value";
}

TEST_F(WorkerSetupTest, SetsPoliciesThatNeedNoRight) {
  for (const char* policy : {R"({"policy":{"batch":null},"nice":5})", R"({"policy":{"idle":null},"nice":7})",
                             R"({"nice":4})", "{}"}) {
    const WorkerSettings wanted = settings(policy);
    EXPECT_EQ(inChild([&] { setPolicy(0, wanted, "me"); }), "ok") << policy;
  }
}

TEST_F(WorkerSetupTest, NamesARefusedPolicyWithErrno) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to give its rights up";
  const WorkerSettings fifo = settings(R"({"policy":{"fifo":7},"uid":65534,"gid":65534})");
  EXPECT_THAT(inChild([&] {
                setUpOneself(fifo);  // nobody has no CAP_SYS_NICE
                setPolicy(0, fifo, "worker x");
              }),
              AllOf(HasSubstr("workerSetupFailed: set policy fifo 7 of worker x: "), HasSubstr("(errno 1)")));
}

TEST_F(WorkerSetupTest, NamesAnAffinityThatCameOutInAnotherWay) {
  cpu_set_t ours;
  ASSERT_EQ(sched_getaffinity(0, sizeof ours, &ours), 0);
  uint32_t cpu = 0;
  while (!CPU_ISSET(cpu, &ours)) cpu++;
  EXPECT_EQ(inChild([&] { setAffinity(0, {cpu}, {cpu}, "me"); }), "ok");
  EXPECT_THAT(inChild([&] { setAffinity(0, {cpu}, {cpu, cpu + 1}, "me"); }), HasSubstr("reads back as"));
  EXPECT_THAT(inChild([&] { setAffinity(0, {1023}, {1023}, "me"); }),
              HasSubstr("set affinity 1023 of me: Invalid argument (errno 22)"));
  EXPECT_EQ(inChild([&] {
              setAffinity(0, {cpu}, {cpu}, "me");
              liftAffinity(0, "me");
            }),
            "ok");
}

TEST_F(WorkerSetupTest, SetsItselfUp) {
  const WorkerSettings name = settings(R"({"comm":"fifteen-bytes-x"})");
  EXPECT_EQ(inChild([&] { setUpOneself(name); }), "ok");
  const WorkerSettings memory = settings(R"({"memory":{"bind":[0]}})");
  const std::string said = inChild([&] { setUpOneself(memory); });
  if (said.find("(errno 38)") != std::string::npos || said.find("(errno 1)") != std::string::npos) {
    GTEST_SKIP() << "no set_mempolicy() here: " << said;
  }
  EXPECT_EQ(said, "ok");
  const WorkerSettings nowhere = settings(R"({"memory":{"bind":[63]}})");
  EXPECT_THAT(inChild([&] { setUpOneself(nowhere); }),
              HasSubstr("workerSetupFailed: set memory policy bind on nodes 0x8000000000000000: "));
}

}  // namespace
}  // namespace ktstr::agent
