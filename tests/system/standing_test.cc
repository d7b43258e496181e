// A VMM that stands by, and a monitor and an orchestrator that come to it: three users, put together in a
// pipeline as README.md says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/test_readme.h"
#include "protocol/text.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr uid_t orchestrator = 61001, monitor = 61002, vmm = 61003;  // README.md's numbers

void replace(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

void giveTo(uid_t user, const fs::path& path) {
  ASSERT_EQ(lchown(path.c_str(), user, user), 0) << path;
  for (const auto& each : fs::recursive_directory_iterator(path))
    ASSERT_EQ(lchown(each.path().c_str(), user, user), 0) << each.path();
}

// Their command lines; what is dead and not waited for has none.
std::vector<std::string> processesOf(const std::set<uid_t>& users) {
  std::vector<std::string> found;
  for (const auto& each : fs::directory_iterator("/proc")) {
    struct stat status {};
    if (stat(each.path().c_str(), &status) != 0 || users.count(status.st_uid) == 0) continue;
    std::string words = readFileIfThere(each.path() / "cmdline").value_or("");
    if (!words.empty()) found.push_back(words);
  }
  return found;
}

class Standing : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "playing other users needs root";
    if (!findProgram("setpriv")) GTEST_SKIP() << "setpriv is not installed";
    KTSTR_NEED_KERNEL("debian:7.3");
    fs::permissions(place_.path(), fs::perms(0755));
    for (const char* each : {"bin", "cache", "state", "home"}) fs::create_directory(path(each));
    for (const auto& program : fs::directory_iterator(fs::path(binary("ktstr")).parent_path()))
      fs::copy(program.path(), path("bin"));
    fs::copy(scenario("basic"), path("basic.json"));
    copyKernel();
    giveTo(orchestrator, path("cache"));
    giveTo(orchestrator, path("state"));
    giveTo(vmm, path("home"));
  }

  std::string path(const std::string& name) const { return place_.path() + "/" + name; }

  // What the orchestrator finds in a cache of its own, so that it needs nobody else's.
  void copyKernel() {
    const Result found = ktstr({"kernel", "path", "debian:7.3"});
    const fs::path entry = fs::path(found.out.substr(0, found.out.find('\n'))).parent_path();
    const fs::path cache = entry.parent_path().parent_path().parent_path();
    fs::create_directories(path("cache/entries/kernel"));
    fs::copy(entry, path("cache/entries/kernel") / entry.filename(), fs::copy_options::recursive);
    fs::copy(cache / "aliases", path("cache/aliases"), fs::copy_options::recursive);
  }

  // README's commands with our places for its: the accelerator that every machine has, and no /dev/kvm.
  std::string commands(std::string_view heading) const {
    std::string text = commandsOfReadme(heading);
    EXPECT_FALSE(text.empty()) << heading;
    replace(text, "/run/ktstr-vmm/ci", path("sockets"));
    replace(text, "ktstr serve ", "ktstr serve --accel tcg ");
    replace(text, "--groups \"$(stat -c %g /dev/kvm)\"", "--clear-groups");
    replace(text, "demo.json", path("basic.json"));
    return text;
  }

  Result shell(const std::string& script) const {
    SpawnOptions options;
    const Fd out = makeMemfd("out", 0), err = makeMemfd("err", 0);
    options.executable = "/bin/sh";
    options.arguments = {"-c", script};
    options.environment = {text("PATH=", path("bin"), ":/usr/sbin:/usr/bin:/sbin:/bin"),
                           "KTSTR_CACHE_DIR=" + path("cache"), "KTSTR_STATE_DIR=" + path("state"),
                           "HOME=" + path("home")};
    options.standardOutput = out.get();
    options.standardError = err.get();
    Result result;
    const int status = spawn(options).wait();
    result.exitCode = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.out = readAll(out.get());
    result.err = readAll(err.get());
    return result;
  }

  TemporaryDirectory place_;
};

TEST_F(Standing, ThreeUsersRunATestInAPipeline) {
  std::string pipeline = commands("With those sockets");
  replace(pipeline, "--samples -", "--samples - --format jsonl");
  const Result result = shell(commands("By hand, as root") + pipeline + "wait");
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  KTSTR_EXPECT_PASS(record);
  EXPECT_STREQ(record->getAccelerator().cStr(), "tcg");
  EXPECT_THAT(record->getHost().getKvm().cStr(), HasSubstr(path("sockets")));
  EXPECT_GE(record->getMonitor().getValidSamples(), 5u);
  EXPECT_STREQ(record->getMonitorAttach().getRelease().cStr(), record->getGuest().getRelease().cStr());
  EXPECT_GT(record->getWorkers().size(), 0u);
  EXPECT_THAT(processesOf({orchestrator, monitor, vmm}), ::testing::IsEmpty());
}

}  // namespace
}  // namespace ktstr::testing
