#include "orchestrator/guest_options.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cache/test_images.h"
#include "protocol/json.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string ordersOf(const GuestOptions& options) {
  capnp::MallocMessageBuilder message;
  auto orders = message.initRoot<rpc::GuestOrders>();
  writeGuestOptions(options, orders);
  return toJson(orders.asReader());
}

TEST(GuestOptions, BecomeOrders) {
  const std::string orders =
      ordersOf({.sysctls = {"kernel.sched_rt_runtime_us=-1", "net/ipv4/conf/eth0.1/x=a b"},
                .files = {"/etc/x.json={\"a\":1}"},
                .enable = {"/sys/kernel/debug/sched/features=NO_X"},
                .disable = {"/sys/kernel/debug/sched/features=X"},
                .cgroupParent = "/tenants/all"});
  EXPECT_THAT(orders, HasSubstr(R"("path":"/proc/sys/kernel/sched_rt_runtime_us","content":"-1")"));
  EXPECT_THAT(orders, HasSubstr(R"("path":"/proc/sys/net/ipv4/conf/eth0.1/x","content":"a b")"));
  EXPECT_THAT(orders, HasSubstr(R"("path":"/etc/x.json","content":"{\"a\":1}")"));
  EXPECT_THAT(orders,
              HasSubstr(R"("enable":[{"path":"/sys/kernel/debug/sched/features","content":"NO_X"}])"));
  EXPECT_THAT(orders, HasSubstr(R"("disable":[{"path":"/sys/kernel/debug/sched/features","content":"X"}])"));
  EXPECT_THAT(orders, HasSubstr(R"("cgroupParent":"/tenants/all")"));
}

TEST(GuestOptions, MapWritesNeedASchedulerAndAVmmOfOurOwn) {
  const auto refusal = [](const std::string& word, const std::string& scheduler, const std::string& vmm) {
    RunOptions options;
    options.guest.mapWrites = {word};
    options.scheduler = scheduler;
    options.vmm = vmm;
    try {
      applyGuestOptions(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.name(), "option-invalid");
      return error.message();
    }
    return std::string("none");
  };
  EXPECT_EQ(refusal(".data:x=1", "scx_simple", ""), "none");
  EXPECT_THAT(refusal(".data.x=1", "scx_simple", ""), HasSubstr("is not MAP:PLACE=VALUE"));
  EXPECT_THAT(refusal(".data:x=1", "", ""), HasSubstr("without a scheduler"));
  EXPECT_THAT(refusal(".data:x=1", "scx_simple", "/run/vmm"), HasSubstr("--vmm"));
}

TEST(GuestOptions, WritesOfAScenarioNeedAVmmOfOurOwnAndAreLimited) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  fromJson(R"({"name":"x","steps":[{"ops":[{"writeMap":[".bss:x=1",".bss:y=1"]}]}]})", scenario);
  RunOptions options;
  checkScenarioWrites(options, scenario);
  options.guest.mapWrites.resize(62);
  checkScenarioWrites(options, scenario);
  options.guest.mapWrites.resize(63);
  EXPECT_THAT(errorOf([&] { checkScenarioWrites(options, scenario); }),
              HasSubstr("63 times --map-write, and 2 writes of the scenario"));
  options.guest.mapWrites.clear();
  options.vmm = "/run/vmm";
  EXPECT_THAT(errorOf([&] { checkScenarioWrites(options, scenario); }), HasSubstr("writeMap and --vmm"));
  scenario.getSteps()[0].initOps(0);
  checkScenarioWrites(options, scenario);
}

TEST(GuestOptions, WatchdogNeedsASchedulerAndASecond) {
  const auto refusal = [](uint32_t ms, const std::string& scheduler, const std::string& vmm) {
    RunOptions options;
    options.guest.watchdogMs = ms;
    options.scheduler = scheduler;
    options.vmm = vmm;
    try {
      applyGuestOptions(options);
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("none");
  };
  EXPECT_EQ(refusal(1000, "scx_simple", ""), "none");
  EXPECT_THAT(refusal(999, "scx_simple", ""), HasSubstr("--watchdog-timeout 999ms"));
  EXPECT_THAT(refusal(1000, "", ""), HasSubstr("without a scheduler"));
  EXPECT_THAT(refusal(1000, "scx_simple", "/run/vmm"), HasSubstr("--vmm"));
}

TEST(GuestOptions, OfTwoMapWritesToOnePlaceTheLastCounts) {
  RunOptions options;
  options.scheduler = "scx_simple";
  options.guest.mapWrites = {".data:x=1", ".data:y=2", ".bss:x=3", ".data:x=4"};
  applyGuestOptions(options);
  EXPECT_THAT(options.guest.mapWrites, ElementsAre(".data:y=2", ".bss:x=3", ".data:x=4"));
}

TEST(GuestOptions, WhatNamesNoPlaceIsRefused) {
  const GuestOptions wrong[] = {
      {.sysctls = {"kernel.x"}},
      {.sysctls = {"=1"}},
      {.sysctls = {"kernel/../../x=1"}},
      {.sysctls = {"a b=1"}},
      {.files = {"/etc/x"}},
      {.files = {"etc/x=1"}},
      {.files = {"/etc/../x=1"}},
      {.files = {"/proc/x=1"}},
      {.files = {"/ktstr/run=1"}},
      {.enable = {"features=1"}},
      {.disable = {"/sys/a/../b=1"}},
      {.cgroupParent = "tenants"},
      {.cgroupParent = "/"},
      {.cgroupParent = "/a/../b"},
  };
  for (const GuestOptions& options : wrong)
    EXPECT_THAT(errorOf([&] { ordersOf(options); }), HasSubstr("option-invalid")) << &options - wrong;
}

TEST(GuestOptions, KernelArgumentsMayNotOverrideTheMachine) {
  EXPECT_EQ(kernelArguments({}), "");
  EXPECT_EQ(kernelArguments({.kernelArguments = {"preempt=full", "nohz_full=1-3"}}),
            " preempt=full nohz_full=1-3");
  for (const char* word :
       {"init=/bin/sh", "console=tty0", "mem=64M", "nr_cpus=1", "ktstr.mailbox=0", "a b", "", "--"}) {
    EXPECT_THAT(errorOf([&] { kernelArguments({.kernelArguments = {word}}); }),
                HasSubstr("kernel-argument-invalid"))
        << word;
  }
}

class Includes : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(root() + "/d/e");
    for (const char* name : {"/one", "/d/one", "/d/e/two"}) std::ofstream(root() + name) << name;
  }
  std::string root() const { return std::filesystem::canonical(directory_.path()).string(); }
  std::vector<std::string> placesOf(const std::vector<std::string>& words) const {
    std::vector<std::string> places;
    for (const ImageFile& file : includeFiles({.includes = words}))
      places.push_back(file.guestPath + " < " + file.hostPath);
    return places;
  }

 private:
  cache::test::TemporaryDirectory directory_;
};

TEST_F(Includes, HaveAPlaceEach) {
  EXPECT_THAT(placesOf({root() + "/one", root() + "/d", root() + "/one:/opt/x", root() + "/one"}),
              ElementsAre("/include-files/d/e/two < " + root() + "/d/e/two",
                          "/include-files/d/one < " + root() + "/d/one",
                          "/include-files/one < " + root() + "/one", "/opt/x < " + root() + "/one"));
  EXPECT_THAT(placesOf({"sh"}),
              ElementsAre("/include-files/sh < " + std::filesystem::canonical("/bin/sh").string()));
}

TEST_F(Includes, TwoForOnePlaceAreNamed) {
  EXPECT_THAT(
      errorOf([&] {
        placesOf({root() + "/one", root() + "/d/one"});
      }),
      AllOf(HasSubstr("include-conflict"), HasSubstr(root() + "/one (of "), HasSubstr(root() + "/d/one")));
  EXPECT_THAT(errorOf([&] { placesOf({"no-such-file"}); }),
              AllOf(HasSubstr("include-missing"), HasSubstr("nor in PATH")));
}

TEST_F(Includes, SchedulerConfigIsPackedAndNamedToTheScheduler) {
  RunOptions options;
  options.schedulerConfig = root() + "/one";
  EXPECT_THAT(errorOf([&] { applyGuestOptions(options); }), HasSubstr("option-invalid"));
  options.scheduler = "scx_layered";
  options.schedulerArgs = {"-v"};
  options.guest.kernelArguments = {"preempt=full"};
  applyGuestOptions(options);
  EXPECT_THAT(options.schedulerArgs, ElementsAre("--config", "/include-files/one", "-v"));
  EXPECT_EQ(options.commandLine, " preempt=full");
  ASSERT_EQ(includeFiles(options.guest).size(), 1u);
  capnp::MallocMessageBuilder message;
  auto settings = message.initRoot<rpc::GuestSettings>();
  options.guest.sysctls = {"kernel.a=1"};
  options.schedulerEnv = {"A=b"};
  writeSettings(options, settings);
  EXPECT_THAT(toJson(settings.asReader()),
              AllOf(HasSubstr("/include-files/one"), HasSubstr(R"("commandLine":" preempt=full")"),
                    HasSubstr(R"(["kernel.a=1"])"), HasSubstr(R"(["A=b"])")));
}

}  // namespace
}  // namespace ktstr
