// The systemd units and users that `make install` installs, as systemd's own tools see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "protocol/file.h"
#include "protocol/process.h"

namespace ktstr::vmm {
namespace {

using testing::ContainsRegex;

class Units : public testing::Test {
 protected:
  Units() {
    char name[] = "/tmp/ktstr-units-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~Units() noexcept override { std::filesystem::remove_all(directory_); }

  // Standard output and error of a tool.
  std::string run(const std::string& tool, std::vector<std::string> arguments) {
    const Fd output = makeMemfd("output", 0);
    SpawnOptions options;
    options.executable = tool;
    options.arguments = std::move(arguments);
    options.standardOutput = options.standardError = output.get();
    const int status = spawn(options).wait();
    return readAll(output.get()) + describeWaitStatus(status);
  }

  std::string directory_;
};

TEST_F(Units, AreVerifiedBySystemd) {
  const auto tool = findProgram("systemd-analyze");
  if (!tool) GTEST_SKIP() << "systemd-analyze is not there";
  std::vector<std::string> arguments = {"verify"};
  for (const auto& file : std::filesystem::directory_iterator("vmm/systemd")) {
    std::string name = file.path().filename();
    const size_t instance = name.find("@.");
    if (instance == std::string::npos) continue;
    std::string unit = readFile(file.path());
    const std::string installed = "/usr/local/bin/ktstr ";
    if (const size_t at = unit.find(installed); at != std::string::npos) {
      unit.replace(at, installed.size(), toolPath("ktstr") + " ");
    }
    std::ofstream(directory_ + "/" + name) << unit;
    arguments.push_back(directory_ + "/" + name.insert(instance + 1, "ci"));
  }
  ASSERT_EQ(arguments.size(), 5u);
  EXPECT_EQ(run(*tool, arguments), "exit code 0");
}

TEST_F(Units, HaveTheirUsersMade) {
  const auto tool = findProgram("systemd-sysusers");
  if (!tool) GTEST_SKIP() << "systemd-sysusers is not there";
  std::filesystem::create_directory(directory_ + "/etc");
  const std::string users = std::filesystem::absolute("vmm/systemd/ktstr.sysusers");
  const std::string said = run(*tool, {"--root=" + directory_, users});
  ASSERT_THAT(said, testing::EndsWith("exit code 0"));
  const std::string passwd = readFile(directory_ + "/etc/passwd");
  for (const char* user : {"ktstr-vmm", "ktstr-orchestrator", "ktstr-monitor"}) {
    EXPECT_THAT(passwd, ContainsRegex("(^|\n)" + std::string(user) + ":"));
  }
  EXPECT_THAT(readFile(directory_ + "/etc/group"), ContainsRegex("(^|\n)kvm:x:[0-9]+:ktstr-vmm\n"));
}

}  // namespace
}  // namespace ktstr::vmm
