// Runs the real `ktstr-monitor core` on a test kernel's memory, with the VMM's end of its socket held here.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/service.h"
#include "monitor/test_kernel.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

extern char** environ;

namespace ktstr {
namespace {

using test::TestKernel;
using ::testing::HasSubstr;

// What has become of the leases that were granted.
struct Leases {
  unsigned granted = 0, alive = 0;
  unsigned thaws = 0;  // how often none was left
};

class LeaseServer final : public rpc::FreezeLease::Server {
 public:
  LeaseServer(Leases& leases, kj::Timer& timer)
      : leases_(leases),
        expiry_(timer.afterDelay(1 * kj::SECONDS).then([this] { end(); }).eagerlyEvaluate(nullptr)) {
    ++leases_.granted, ++leases_.alive;
  }
  ~LeaseServer() noexcept(false) { end(); }

 private:
  void end() {
    if (std::exchange(ended_, true)) return;
    if (--leases_.alive == 0) ++leases_.thaws;
  }
  Leases& leases_;
  bool ended_ = false;
  kj::Promise<void> expiry_;
};

class ObserverServer final : public rpc::Observer::Server {
 public:
  ObserverServer(Fd memory, Leases& leases, kj::Timer& timer)
      : memory_(std::move(memory)), leases_(leases), timer_(timer) {}
  kj::Promise<void> memory(MemoryContext context) override {
    auto results = context.getResults();
    results.setFd(giveFd(memory_.duplicate()).castAs<rpc::Fd>());
    results.initRegions(1)[0].setSize(TestKernel::ramBytes);
    return kj::READY_NOW;
  }
  kj::Promise<void> registers(RegistersContext context) override {
    EXPECT_GT(leases_.alive, 0u) << "only of a guest that stands still";
    context.getResults().initRegisters().setRip(0x1000 + context.getParams().getVcpu());
    return kj::READY_NOW;
  }
  kj::Promise<void> freezeLease(FreezeLeaseContext context) override {
    context.getResults().setLease(kj::heap<LeaseServer>(leases_, timer_));
    return kj::READY_NOW;
  }

 private:
  Fd memory_;
  Leases& leases_;
  kj::Timer& timer_;
};

class CoreRun {
 public:
  // Standard output goes to `output`, or into a pipe.
  explicit CoreRun(TestKernel& kernel, int output = -1) {
    auto vm = makeSocketPair();
    int pipe[2], errors[2];
    EXPECT_EQ(pipe2(pipe, O_CLOEXEC) | pipe2(errors, O_CLOEXEC), 0);
    output_ = Fd(pipe[0]), errors_ = Fd(errors[0]);
    const Fd outputEnd(pipe[1]), errorEnd(errors[1]);
    SpawnOptions options;
    options.executable = toolPath("ktstr-monitor");
    options.arguments = {"core", "--vm-fd", "3"};
    options.descriptors = {{vm.second.get(), 3}};
    for (char** variable = environ; *variable; ++variable) options.environment.push_back(*variable);
    options.standardOutput = output >= 0 ? output : outputEnd.get();
    options.standardError = errorEnd.get();
    child_ = spawn(options);
    vm_.emplace(*io_.lowLevelProvider, std::move(vm.first),
                kj::heap<ObserverServer>(kernel.file(), leases, io_.provider->getTimer()));
    stream_ = io_.lowLevelProvider->wrapInputFd(output_.get());
  }

  // The next bytes of the pipe, at most 64 KiB; none at its end.
  size_t read() {
    char bytes[65536];
    const size_t got = io_.provider->getTimer()
                           .timeoutAfter(60 * kj::SECONDS, stream_->tryRead(bytes, 1, sizeof bytes))
                           .wait(io_.waitScope);
    content.append(bytes, got);
    return got;
  }
  void turn(unsigned milliseconds) {
    io_.provider->getTimer().afterDelay(milliseconds * kj::MILLISECONDS).wait(io_.waitScope);
  }
  // Exit code and what it wrote to stderr, once its output has ended.
  std::string outcome() {
    while (read() != 0) {
    }
    while (!child_.poll()) turn(5);
    for (int i = 0; i < 1000 && leases.alive > 0; ++i) turn(5);  // they end when its connection does
    return describeWaitStatus(*child_.poll()) + "\n" + readAll(errors_.get());
  }

  Leases leases;
  std::string content;

 private:
  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  Child child_;
  Fd output_, errors_;
  kj::Own<kj::AsyncInputStream> stream_;
  std::optional<Connection> vm_;
};

// What the core in a file holds is what the guest's RAM holds.
void expectRam(TestKernel& kernel, int core) {
  const RamFile ram(Fd(fcntl(core, F_DUPFD_CLOEXEC, 3)), vmcoreRanges(core));
  ASSERT_EQ(ram.memory().size(), TestKernel::ramBytes);
  const auto bytes = *ram.memory().bytes(0, TestKernel::ramBytes);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), kernel.bytes().begin()));
}

TEST(MonitorCore, IsSparseWhereItCanBe) {
  TestKernel kernel;
  kernel.run(2, 10, 77, "worker", 4, 123456);
  const Fd file = makeMemfd("core", 0);
  CoreRun run(kernel, file.get());
  EXPECT_EQ(run.outcome(), "exit code 0\n");
  EXPECT_EQ(run.leases.thaws, 1u);
  struct stat status {};
  fstat(file.get(), &status);
  EXPECT_LT(status.st_blocks * 512, status.st_size / 4);
  expectRam(kernel, file.get());  // looks into the holes, which fills them
  std::string head(8192, '\0');
  ASSERT_EQ(pread(file.get(), head.data(), head.size(), 0), 8192);
  EXPECT_THAT(head, HasSubstr("OSRELEASE=7.3.4-test"));
  const uint64_t rip = 0x1002;
  EXPECT_THAT(head, HasSubstr(std::string_view(reinterpret_cast<const char*>(&rip), sizeof rip)));
}

TEST(MonitorCore, HoldsTheGuestForAsLongAsItTakes) {
  TestKernel kernel;
  CoreRun run(kernel);
  while (run.read() != 0) run.turn(run.leases.granted < 4 ? 3 : 0);
  const std::string outcome = run.outcome();
  if (outcome.find("freeze-lost") != std::string::npos) GTEST_SKIP() << "a slow host: " << outcome;
  EXPECT_EQ(outcome, "exit code 0\n");
  EXPECT_GE(run.leases.granted, 3u) << "one lease would not have done";
  EXPECT_EQ(run.leases.thaws, 1u) << "at the end alone";
  const Fd file = makeMemfd("core", 0);
  writeAll(file.get(), run.content);
  expectRam(kernel, file.get());
}

TEST(MonitorCore, SaysSoWhenTheGuestMayHaveRun) {
  TestKernel kernel;
  CoreRun run(kernel);
  run.read();
  run.turn(1500);  // nobody reads: it is stuck in write()
  EXPECT_THAT(run.outcome(), HasSubstr("freeze-lost"));
  EXPECT_LT(run.content.size(), TestKernel::ramBytes) << "no core that looks whole";
}

}  // namespace
}  // namespace ktstr
