// The program ktstr-cache as it is built, on kernels given by path, and as a server.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <kj/async-io.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "cache/store.h"
#include "cache/test_images.h"
#include "protocol/cache.capnp.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/transport.h"

namespace ktstr::cache {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string program() {
  if (getenv("KTSTR_BIN_DIR") != nullptr) return toolPath("ktstr-cache");
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "bin/ktstr-cache";
}

struct Outcome {
  int code;
  std::string output;
  std::string errors;
};

class Program : public testing::Test {
 protected:
  Program() {
    setenv("KTSTR_CACHE_DIR", (directory / "store").c_str(), 1);
    test::writeFile(kernel, test::makeBzImage());
  }
  ~Program() override { unsetenv("KTSTR_CACHE_DIR"); }

  static SpawnOptions options(std::vector<std::string> arguments) {
    SpawnOptions result;
    result.executable = program();
    result.arguments = std::move(arguments);
    return result;
  }
  static Outcome run(std::vector<std::string> arguments) {
    const Fd output = makeMemfd("stdout", 0);
    const Fd errors = makeMemfd("stderr", 0);
    SpawnOptions how = options(std::move(arguments));
    how.standardOutput = output.get();
    how.standardError = errors.get();
    const int status = spawn(how).wait();
    EXPECT_TRUE(WIFEXITED(status)) << describeWaitStatus(status) << readAll(errors.get());
    return {WEXITSTATUS(status), readAll(output.get()), readAll(errors.get())};
  }

  test::TemporaryDirectory directory;
  const std::string kernel = directory / "vmlinuz";
};

TEST_F(Program, GetsListsFindsAndRemoves) {
  EXPECT_EQ(run({"path", kernel}).code, 2);
  const Outcome got = run({"get", kernel, "--json"});
  EXPECT_EQ(got.code, 0) << got.errors;
  EXPECT_THAT(got.output, StartsWith("{\"kind\":\"kernel\",\"key\":\"sha256-"));
  EXPECT_EQ(run({"list", "--json"}).output, got.output);
  const Outcome path = run({"path", kernel, "vmlinuz"});
  EXPECT_EQ(readFile(path.output.substr(0, path.output.size() - 1)), test::makeBzImage());
  EXPECT_EQ(run({"verify"}).code, 0);
  EXPECT_EQ(run({"rm", kernel}).code, 0);
  EXPECT_EQ(run({"list"}).output, "");
  EXPECT_THAT(run({"rm", kernel}).errors, HasSubstr("kernel-not-cached"));
}

TEST_F(Program, DamageIsReportedByVerifyAndRepairedByGet) {
  run({"get", kernel});
  const std::string path = run({"path", kernel}).output;
  const std::string vmlinux = path.substr(0, path.size() - 1);
  test::flipByte(vmlinux, 50);
  const Outcome repaired = run({"get", kernel});
  EXPECT_EQ(repaired.code, 0);
  EXPECT_THAT(repaired.errors, HasSubstr("has SHA-256"));
  EXPECT_THAT(repaired.errors, HasSubstr("getting it again"));
  EXPECT_EQ(readFile(vmlinux), test::makeVmlinux());
  test::flipByte(vmlinux, 51);
  const Outcome verified = run({"verify"});
  EXPECT_EQ(verified.code, 4);
  EXPECT_THAT(verified.errors, HasSubstr("cache-entry-corrupt"));
}

TEST_F(Program, TwoAtOnceGetOneEntry) {
  SpawnOptions how = options({"get", kernel});
  const Fd output = makeMemfd("stdout", 0);
  how.standardOutput = how.standardError = output.get();
  Child first = spawn(how);
  Child second = spawn(how);
  EXPECT_EQ(first.wait(), 0) << readAll(output.get());
  EXPECT_EQ(second.wait(), 0) << readAll(output.get());
  EXPECT_EQ(Store::open().list("kernel").size(), 1U);
}

TEST_F(Program, WrongUsageEndsInTwoAndSaysWhatToDo) {
  EXPECT_EQ(run({}).code, 2);
  EXPECT_EQ(run({"fetch"}).code, 2);
  EXPECT_EQ(run({"get"}).code, 2);
  EXPECT_EQ(run({"serve", "--fd", "999"}).code, 2);
  const Outcome bad = run({"get", "debian:abc"});
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.errors, HasSubstr("use debian:7.3"));
  const Outcome help = run({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.output, HasSubstr("ktstr kernel get debian:7.3"));
}

TEST_F(Program, ServesAnalysesAndEndsWithItsPeer) {
  auto [ours, theirs] = makeSocketPair();
  SpawnOptions how = options({"serve", "--fd", "3"});
  how.descriptors = {{theirs.get(), 3}};
  Child server = spawn(how);
  theirs.reset();
  {
    auto io = kj::setupAsyncIo();
    Connection connection(*io.lowLevelProvider, std::move(ours), nullptr);
    auto client = connection.bootstrap().castAs<rpc::AnalysisStore>();
    Fd analysis = makeMemfd("analysis", 0);
    writeAll(analysis.get(), "symbols");
    fcntl(analysis.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK);
    auto store = client.storeRequest();
    store.setBuildId("0123456789abcdef");
    store.setAnalysis(giveFd(std::move(analysis)).castAs<rpc::Fd>());
    store.send().wait(io.waitScope);
    auto lookup = client.lookupRequest();
    lookup.setBuildId("0123456789abcdef");
    auto reply = lookup.send().wait(io.waitScope);
    ASSERT_TRUE(reply.getFound());
    EXPECT_EQ(readAll(takeFd(reply.getAnalysis()).wait(io.waitScope).get()), "symbols");
  }
  EXPECT_EQ(server.wait(), 0);
}

}  // namespace
}  // namespace ktstr::cache
