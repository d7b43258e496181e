#include "guest/agent/settings.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "guest/agent/failure.h"
#include "protocol/file.h"

namespace ktstr::agent {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Settings : public ::testing::Test {
 protected:
  void SetUp() override {
    message_ = std::make_unique<capnp::MallocMessageBuilder>();
    orders_ = message_->initRoot<rpc::GuestOrders>();
    std::string pattern = "/tmp/ktstr-settings-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  static void set(capnp::List<rpc::FileWrite>::Builder list, const std::string& path, const char* content) {
    list[0].setPath(path);
    list[0].setContent(content);
  }
  std::string refused() {
    try {
      applySettings(orders_);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.name, FailureName::SETTING_REFUSED);
      return failure.message;
    }
    return "";
  }

  std::unique_ptr<capnp::MallocMessageBuilder> message_;
  rpc::GuestOrders::Builder orders_ = nullptr;
  std::string root_;
};

TEST_F(Settings, FilesGetTheirDirectoriesAndSwitchesAreWrittenAtBothEnds) {
  std::ofstream(root_ + "/switch") << "?";
  set(orders_.initFiles(1), root_ + "/a/b/layers.json", "{}");
  set(orders_.initEnable(1), root_ + "/switch", "1");
  set(orders_.initDisable(1), root_ + "/switch", "0");
  EXPECT_EQ(refused(), "");
  EXPECT_EQ(readFile(root_ + "/a/b/layers.json"), "{}");
  EXPECT_EQ(readFile(root_ + "/switch"), "1");
  undoSettings(orders_);
  EXPECT_EQ(readFile(root_ + "/switch"), "0");
}

TEST_F(Settings, SysctlsAreReadBack) {
  std::ofstream(root_ + "/pair") << "1\t2\n";
  set(orders_.initSysctls(1), root_ + "/pair", "3 4");
  EXPECT_EQ(refused(), "");
  set(orders_.initSysctls(1), "/dev/null", "3 4");
  EXPECT_THAT(refused(), HasSubstr("/dev/null: \"3 4\" reads back as \"\""));
  set(orders_.initSysctls(1), root_ + "/none", "1");
  EXPECT_THAT(refused(), AllOf(HasSubstr("open " + root_ + "/none: "), HasSubstr("(errno 2)")));
}

TEST_F(Settings, WhatTheKernelRefusesIsNamed) {
  set(orders_.initEnable(1), "/dev/full", "1");
  EXPECT_THAT(refused(), AllOf(HasSubstr("write \"1\" to /dev/full: "), HasSubstr("(errno 28)")));
  set(orders_.initFiles(1), "/dev/null/x", "1");
  EXPECT_THAT(refused(), HasSubstr("make /dev/null: "));
}

}  // namespace
}  // namespace ktstr::agent
