// Runs the real ktstr-monitor as an orchestrator does, and asks it for dumps.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "monitor/service.h"
#include "monitor/test_kernel.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

struct Vmm {
  Fd memory;
  bool freezes = true;
  unsigned leases = 0, frozen = 0;  // given, and held now
};

class LeaseServer final : public rpc::FreezeLease::Server {
 public:
  explicit LeaseServer(Vmm& vmm) : vmm_(vmm) { ++vmm_.leases, ++vmm_.frozen; }
  ~LeaseServer() { --vmm_.frozen; }

 private:
  Vmm& vmm_;
};

class ObserverServer final : public rpc::Observer::Server {
 public:
  explicit ObserverServer(Vmm& vmm) : vmm_(vmm) {}
  kj::Promise<void> memory(MemoryContext context) override {
    context.getResults().setFd(giveFd(vmm_.memory.duplicate()).castAs<rpc::Fd>());
    context.getResults().initRegions(1)[0].setSize(test::TestKernel::ramBytes);
    return kj::READY_NOW;
  }
  kj::Promise<void> freezeLease(FreezeLeaseContext context) override {
    if (!vmm_.freezes) KJ_FAIL_REQUIRE("no machine");
    context.getResults().setLease(kj::heap<LeaseServer>(vmm_));
    return kj::READY_NOW;
  }
  kj::Promise<void> registers(RegistersContext context) override {
    EXPECT_EQ(vmm_.frozen, 1u);
    context.getResults().initRegisters().setRip(0x1000 + context.getParams().getVcpu());
    return kj::READY_NOW;
  }

 private:
  Vmm& vmm_;
};

class NothingServer final : public rpc::Fd::Server {};

class Asked {
 public:
  explicit Asked(Vmm vmm, std::vector<std::string> arguments = {}) : vmm_(std::move(vmm)) {
    auto vm = makeSocketPair(), grants = makeSocketPair();
    int output[2];
    EXPECT_EQ(pipe2(output, O_CLOEXEC), 0);
    output_ = Fd(output[0]);
    const Fd outputEnd(output[1]);
    SpawnOptions options;
    options.executable = toolPath("ktstr-monitor");
    options.arguments = {"--vm-fd", "3", "--grants-fd", "5"};
    options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
    options.descriptors = {{vm.second.get(), 3}, {grants.second.get(), 5}};
    options.standardOutput = outputEnd.get();
    child_ = spawn(options);
    observe_.emplace(*io_.lowLevelProvider, std::move(vm.first), kj::heap<ObserverServer>(vmm_));
    grants_.emplace(*io_.lowLevelProvider, std::move(grants.first), kj::heap<NothingServer>());
  }

  void dump(const char* name, rpc::DumpReason reason, const char* stats = "") {
    auto request = grants_->bootstrap().castAs<rpc::Monitor>().dumpRequest();
    request.setName(name);
    request.setReason(reason);
    request.setSchedulerStats(stats);
    io_.provider->getTimer()
        .timeoutAfter(30 * kj::SECONDS, request.send().ignoreResult())
        .wait(io_.waitScope);
  }
  // Once its kernel was found.
  void watch(const char* expression) {
    for (bool found = false; !found;) {
      auto request = grants_->bootstrap().castAs<rpc::Monitor>().watchRequest();
      request.setExpression(expression);
      try {
        request.send().ignoreResult().wait(io_.waitScope);
        found = true;
      } catch (const kj::Exception& exception) {
        if (std::string_view(exception.getDescription().cStr()).find("kernel-not-found") ==
            std::string_view::npos)
          throw;
      }
    }
  }
  void write(std::vector<std::string> words) {
    auto request = grants_->bootstrap().castAs<rpc::Monitor>().writeRequest();
    request.setStep(2);
    request.setOp(3);
    auto list = request.initWrites(static_cast<unsigned>(words.size()));
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, words[i]);
    request.send().ignoreResult().wait(io_.waitScope);
  }
  void pass(unsigned milliseconds) {
    io_.provider->getTimer().afterDelay(milliseconds * kj::MILLISECONDS).wait(io_.waitScope);
  }
  // Of one that ends by itself.
  void waitForEnd() {
    for (int i = 0; i < 3000 && !child_.poll(); ++i) pass(10);
  }
  // Ends it; its records from now on are what it wrote.
  std::vector<std::string> records() {
    observe_ = std::nullopt;
    std::vector<std::string> lines;
    const std::string all = ktstr::readAll(output_.get());
    for (size_t at = 0; at < all.size();) {
      const size_t end = std::min(all.find('\n', at), all.size());
      lines.push_back(all.substr(at, end - at));
      at = end + 1;
    }
    child_.wait();
    return lines;
  }
  // The dumps among them.
  std::vector<std::string> dumps() { return recordsOf("dump"); }
  std::vector<std::string> recordsOf(const std::string& kind) {
    std::vector<std::string> found;
    for (auto& line : records()) {
      if (line.starts_with("{\"" + kind + "\":")) found.push_back(line);
    }
    return found;
  }
  Vmm& vmm() { return vmm_; }
  // That a lease was dropped is told without an answer: it may still be on its way.
  bool thawed() {
    for (int i = 0; i < 1000 && vmm_.frozen > 0; ++i)
      io_.provider->getTimer().afterDelay(5 * kj::MILLISECONDS).wait(io_.waitScope);
    return vmm_.frozen == 0;
  }

 private:
  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  Vmm vmm_;
  Child child_;
  Fd output_;
  std::optional<Connection> observe_, grants_;
};

TEST(MonitorDumps, FreezesReadsRegistersAndThaws) {
  test::TestKernel kernel;
  kernel.attachScheduler("simple");
  Asked monitor({kernel.file()}, {"--period-ms", "3600000"});  // it does not wait for the next sample
  monitor.dump("first", rpc::DumpReason::OPERATION);
  monitor.dump("second", rpc::DumpReason::PERIODIC, R"({"a":1})");
  EXPECT_EQ(monitor.vmm().leases, 2u);
  EXPECT_TRUE(monitor.thawed());
  const auto dumps = monitor.dumps();
  ASSERT_EQ(dumps.size(), 2u);
  capnp::MallocMessageBuilder message;
  fromJson(dumps[0], message.initRoot<rpc::MonitorRecord>());
  const auto dump = message.getRoot<rpc::MonitorRecord>().asReader().getDump();
  EXPECT_EQ(dump.getName(), "first");
  EXPECT_EQ(dump.getReason(), rpc::DumpReason::OPERATION);
  EXPECT_GT(dump.getFrozenNs(), 0u);
  EXPECT_EQ(dump.getNotFrozen(), "");
  EXPECT_EQ(dump.getJiffies(), 4294937296u);
  EXPECT_EQ(dump.getScheduler().getOpsName(), "simple");
  EXPECT_EQ(dump.getScheduler().getState(), "enabled");
  ASSERT_EQ(dump.getRegisters().size(), 4u);
  EXPECT_EQ(dump.getRegisters()[3].getRip(), 0x1003u);
  EXPECT_THAT(dumps[1], ::testing::AllOf(HasSubstr(R"("name":"second","reason":"periodic")"),
                                         HasSubstr(R"("schedulerStats":"{\"a\":1}")")));
}

TEST(MonitorDumps, OfARunningGuestSayWhy) {
  test::TestKernel kernel;
  Asked monitor({kernel.file(), false});
  monitor.dump("late", rpc::DumpReason::FAILURE);
  const auto dumps = monitor.dumps();
  ASSERT_EQ(dumps.size(), 1u);
  EXPECT_THAT(dumps[0], ::testing::AllOf(HasSubstr(R"("frozenNs":0)"), HasSubstr("no machine"),
                                         HasSubstr("they are told of a frozen guest alone"),
                                         HasSubstr("no sched_ext scheduler is attached")));
}

TEST(MonitorDumps, BeforeAKernelIsFoundNameItsAbsence) {
  test::KernelOptions options;
  options.vmcoreinfo = false;
  test::TestKernel kernel(options);
  Asked monitor({kernel.file()});
  monitor.dump("early", rpc::DumpReason::DEMAND);
  EXPECT_EQ(monitor.vmm().leases, 0u);
  const auto dumps = monitor.dumps();
  ASSERT_EQ(dumps.size(), 1u);
  EXPECT_THAT(dumps[0], HasSubstr(R"({"section":"kernel","reason":")"));
}

TEST(MonitorWatches, AreAskedForWhileItSamples) {
  test::TestKernel kernel;
  kernel.put<uint64_t>(kernel.symbolGpa("scx_root"), 5);
  Asked monitor({kernel.file()}, {"--period-ms", "1"});
  monitor.watch("scx_root");
  EXPECT_THROW(monitor.watch("nothing"), kj::Exception);
  kernel.put<uint64_t>(kernel.symbolGpa("scx_root"), 6);
  monitor.pass(1000);
  const auto hits = monitor.recordsOf("watchHit");
  ASSERT_EQ(hits.size(), 1u);
  EXPECT_THAT(hits[0],
              HasSubstr(R"({"watchHit":{"expression":"scx_root","before":"5","after":"6","sequence":)"));
}

TEST(MonitorWrites, AreTriedUntilItIsKnownThatTheyCannotBeMade) {
  test::TestKernel kernel;
  kernel.attachScheduler("simple");
  Asked monitor({kernel.file()}, {"--period-ms", "1"});
  monitor.write({".bss:a=1", ".nothing:b=2"});
  const auto writes = monitor.recordsOf("mapWrite");
  ASSERT_EQ(writes.size(), 2u);
  for (const auto& write : writes) EXPECT_THAT(write, HasSubstr(R"("ofOperation":true,"step":2,"op":3)"));
  EXPECT_THAT(writes[1], HasSubstr(R"("asked":".nothing:b=2","failure":"held-back")"));
}

TEST(MonitorWatches, AreACommandOfTheirOwn) {
  test::TestKernel kernel;
  kernel.attachScheduler("simple");
  Asked monitor({kernel.file()}, {"watch", "*scx_root scx_sched ops.name == simple", "scx_root < 5",
                                  "--count", "1", "--period-ms", "1"});
  monitor.waitForEnd();
  const auto records = monitor.records();
  ASSERT_EQ(records.size(), 1u) << "no samples";
  EXPECT_THAT(records[0], HasSubstr(R"(ops.name == simple","after":"\"simple\"")"))
      << "it held from the start";
}

}  // namespace
}  // namespace ktstr
