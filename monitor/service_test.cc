// Runs the real ktstr-monitor on a test kernel's memory, with the VMM's and the cache's ends of its sockets
// held here.
#include "monitor/service.h"
#include "protocol/file.h"

#include <capnp/serialize.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>

#include "monitor/test_kernel.h"
#include "protocol/json.h"
#include "protocol/process.h"
#include "protocol/text.h"

extern char** environ;

namespace ktstr {
namespace {

using test::TestKernel;

// How the VMM answers for the vCPUs' times.
enum class Times { refused, told, never };

class ObserverServer final : public rpc::Observer::Server {
 public:
  ObserverServer(Fd memory, bool answers, Times times)
      : memory_(std::move(memory)), answers_(answers), times_(times) {}
  kj::Promise<void> vcpuTimes(VcpuTimesContext context) override {
    if (times_ == Times::refused) KJ_UNIMPLEMENTED("not-supported-by-tcg");
    if (times_ == Times::never) return kj::NEVER_DONE;
    auto nanos = context.getResults().initNanos(2);
    nanos.set(0, ++calls_ * 1000);
    nanos.set(1, 7);
    return kj::READY_NOW;
  }
  kj::Promise<void> memory(MemoryContext context) override {
    if (!answers_) return kj::NEVER_DONE;
    auto results = context.getResults();
    results.setFd(giveFd(memory_.duplicate()).castAs<rpc::Fd>());
    auto regions = results.initRegions(1);
    regions[0].setSize(TestKernel::ramBytes);
    return kj::READY_NOW;
  }

 private:
  Fd memory_;
  bool answers_;
  Times times_;
  uint64_t calls_ = 0;
};

// Keeps what is stored; shared by several runs.
struct Stored {
  std::map<std::string, Fd> files;
  unsigned lookups = 0;
};
class StoreServer final : public rpc::AnalysisStore::Server {
 public:
  explicit StoreServer(Stored& stored) : stored_(stored) {}
  kj::Promise<void> lookup(LookupContext context) override {
    ++stored_.lookups;
    const auto found = stored_.files.find(context.getParams().getBuildId());
    context.getResults().setFound(found != stored_.files.end());
    if (found != stored_.files.end()) {
      context.getResults().setAnalysis(giveFd(found->second.duplicate()).castAs<rpc::Fd>());
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> store(StoreContext context) override {
    const std::string key = context.getParams().getBuildId();
    return takeFd(context.getParams().getAnalysis()).then([this, key](Fd fd) {
      stored_.files[key] = std::move(fd);
    });
  }

 private:
  Stored& stored_;
};

class MonitorRun {
 public:
  MonitorRun(TestKernel& kernel, std::vector<std::string> arguments, Stored* stored = nullptr,
             bool sealed = true, bool answers = true, Times times = Times::told) {
    auto vm = makeSocketPair(), cache = makeSocketPair();
    int output[2], errors[2];
    EXPECT_EQ(pipe2(output, O_CLOEXEC) | pipe2(errors, O_CLOEXEC), 0);
    output_ = Fd(output[0]);
    errors_ = Fd(errors[0]);
    const Fd outputEnd(output[1]), errorEnd(errors[1]);
    SpawnOptions options;
    options.executable = toolPath("ktstr-monitor");
    options.arguments = {"--vm-fd", "3"};
    options.descriptors = {{vm.second.get(), 3}};
    if (stored) {
      options.arguments.insert(options.arguments.end(), {"--analysis-fd", "4"});
      options.descriptors.emplace_back(cache.second.get(), 4);
      cache_.emplace(*io_.lowLevelProvider, std::move(cache.first), kj::heap<StoreServer>(*stored));
    }
    options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
    for (char** variable = environ; *variable; ++variable) options.environment.push_back(*variable);
    options.standardOutput = outputEnd.get();
    options.standardError = errorEnd.get();
    child_ = spawn(options);
    vm_.emplace(*io_.lowLevelProvider, std::move(vm.first),
                kj::heap<ObserverServer>(kernel.file(sealed), answers, times));
    stream_ = io_.lowLevelProvider->wrapInputFd(output_.get());
  }

  // The next line of output, without its end; nothing at the end of the output.
  std::optional<std::string> line() {
    for (;;) {
      const auto end = buffer_.find('\n');
      if (end != std::string::npos) {
        auto result = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return result;
      }
      if (!fill()) return std::nullopt;
    }
  }
  std::string rest() {
    while (fill()) {
    }
    return std::exchange(buffer_, {});
  }
  std::vector<std::string> lines() {
    std::vector<std::string> result;
    while (auto next = line()) result.push_back(*next);
    return result;
  }
  // Exit code and what it wrote to stderr, after the output has ended.
  std::string outcome() {
    const auto status = child_.wait();
    return describeWaitStatus(status) + "\n" + readAll(errors_.get());
  }
  void dropVm() { vm_ = std::nullopt; }
  void closeOutput() {
    stream_ = nullptr;
    output_.reset();
  }
  void turn(unsigned milliseconds) {
    io_.provider->getTimer().afterDelay(milliseconds * kj::MILLISECONDS).wait(io_.waitScope);
  }
  Child& child() { return child_; }

 private:
  bool fill() {
    char bytes[4096];
    const size_t got = io_.provider->getTimer()
                           .timeoutAfter(30 * kj::SECONDS, stream_->tryRead(bytes, 1, sizeof bytes))
                           .wait(io_.waitScope);
    buffer_.append(bytes, got);
    return got != 0;
  }

  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  Child child_;
  Fd output_, errors_;
  kj::Own<kj::AsyncInputStream> stream_;
  std::optional<Connection> vm_, cache_;
  std::string buffer_;
};

// Holds a record read from JSON.
class Record {
 public:
  explicit Record(const std::string& json) { fromJson(json, message_.initRoot<rpc::MonitorRecord>()); }
  rpc::MonitorRecord::Reader get() { return message_.getRoot<rpc::MonitorRecord>(); }

 private:
  capnp::MallocMessageBuilder message_;
};

bool isWaiting(const std::string& line) {
  return Record(line).get().isWaiting();
}

TEST(Monitor, SamplesUpToACount) {
  TestKernel kernel;
  kernel.run(2, 10, 77, "worker", 4, 123456);
  MonitorRun run(kernel, {"--count", "3", "--period-ms", "2"});
  const auto lines = run.lines();
  ASSERT_EQ(lines.size(), 5u) << ::testing::PrintToString(lines);
  Record attached(lines[0]), sample(lines[3]), ended(lines[4]);
  ASSERT_TRUE(attached.get().isAttached());
  EXPECT_EQ(attached.get().getAttached().getRelease(), "7.3.4-test");
  EXPECT_EQ(attached.get().getAttached().getPagingLevels(), 5);
  EXPECT_EQ(attached.get().getAttached().getCpus(), 4u);
  EXPECT_FALSE(attached.get().getAttached().getCached());
  ASSERT_TRUE(sample.get().isSample());
  EXPECT_EQ(sample.get().getSample().getSequence(), 2u);
  EXPECT_EQ(sample.get().getSample().getCpus()[2].getCurrComm(), "worker");
  ASSERT_TRUE(ended.get().isEnded());
  EXPECT_EQ(ended.get().getEnded().getKind(), rpc::EndKind::SAMPLE_LIMIT);
  EXPECT_EQ(ended.get().getEnded().getSamples(), 3u);
  EXPECT_EQ(run.outcome(), "exit code 0\n");
}

TEST(Monitor, TellsTheHostTimeOfEachVcpu) {
  TestKernel kernel;
  MonitorRun run(kernel, {"--count", "3", "--period-ms", "1000"});
  auto lines = run.lines();
  ASSERT_EQ(lines.size(), 5u);
  for (unsigned i = 0; i < 3; ++i) {
    Record record(lines[1 + i]);
    const auto sample = record.get().getSample();
    EXPECT_GE(sample.getVcpuTimesAtNs(), sample.getAtNs());
    EXPECT_EQ(sample.getCpus()[0].getHostTimeNs(), 1000 * (i + 1));
    EXPECT_EQ(sample.getCpus()[1].getHostTimeNs(), 7u);
    EXPECT_EQ(sample.getCpus()[2].getHostTimeNs(), 0u);  // the VMM told of two
  }
  EXPECT_EQ(run.outcome(), "exit code 0\n");
}

TEST(Monitor, SamplesGoOnWithoutHostTimes) {
  for (const Times times : {Times::refused, Times::never}) {
    TestKernel kernel;
    MonitorRun run(kernel, {"--count", "4", "--period-ms", "20"}, nullptr, true, true, times);
    const auto lines = run.lines();
    ASSERT_EQ(lines.size(), 6u);
    uint64_t last = 0;
    for (unsigned i = 1; i < 5; ++i) {
      Record record(lines[i]);
      EXPECT_EQ(record.get().getSample().getVcpuTimesAtNs(), 0u);
      EXPECT_GT(record.get().getSample().getAtNs(), last);
      last = record.get().getSample().getAtNs();
    }
    EXPECT_EQ(run.outcome(), "exit code 0\n");
  }
}

TEST(Monitor, WaitsUntilTheKernelIsUp) {
  TestKernel kernel;
  kernel.put<uint64_t>(kernel.rqGpa(0) + test::offsets::rqCurr, 0);
  MonitorRun run(kernel, {"--count", "1"});
  const auto waiting = run.line();
  ASSERT_TRUE(waiting);
  ASSERT_TRUE(isWaiting(*waiting)) << *waiting;
  EXPECT_THAT(*waiting, ::testing::HasSubstr("scheduler is not up yet"));
  kernel.put<uint64_t>(kernel.rqGpa(0) + test::offsets::rqCurr, kernel.direct(kernel.taskGpa(0)));
  auto lines = run.lines();
  std::erase_if(lines, isWaiting);
  EXPECT_EQ(lines.size(), 3u);
  EXPECT_EQ(run.outcome(), "exit code 0\n");
}

TEST(Monitor, EndsWithTheVm) {
  TestKernel kernel;
  MonitorRun run(kernel, {"--period-ms", "5"});
  ASSERT_TRUE(run.line());
  ASSERT_TRUE(run.line());
  run.dropVm();
  const auto lines = run.lines();
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(Record(lines.back()).get().getEnded().getKind(), rpc::EndKind::VM_GONE);
  EXPECT_EQ(run.outcome(), "exit code 0\n");
}

TEST(Monitor, EndsOnSignals) {
  for (const int signal : {SIGTERM, SIGINT}) {
    TestKernel kernel;
    MonitorRun run(kernel, {"--period-ms", "5"});
    ASSERT_TRUE(run.line());
    run.child().signal(signal);
    const auto lines = run.lines();
    ASSERT_FALSE(lines.empty());
    Record ended(lines.back());
    EXPECT_EQ(ended.get().getEnded().getKind(), rpc::EndKind::STOPPED);
    EXPECT_EQ(ended.get().getEnded().getDetail(), signal == SIGINT ? "SIGINT" : "SIGTERM");
    EXPECT_EQ(run.outcome(), "exit code 0\n");
  }
}

TEST(Monitor, EndsWhenItsOutputIsClosed) {
  TestKernel kernel;
  MonitorRun run(kernel, {"--period-ms", "5"});
  ASSERT_TRUE(run.line());
  run.closeOutput();
  EXPECT_EQ(run.outcome(), "exit code 0\n");
}

TEST(Monitor, EndsWhenItsOutputIsClosedWhileItWaitsForAMachine) {
  TestKernel kernel;
  MonitorRun run(kernel, {}, nullptr, true, false);
  run.turn(50);
  run.closeOutput();
  EXPECT_EQ(run.outcome(), "exit code 3\n");
}

TEST(Monitor, NeverFoundIsInconclusive) {
  TestKernel kernel;
  kernel.put<uint32_t>(kernel.symbolGpa("kallsyms_num_syms"), 0);
  MonitorRun run(kernel, {});
  ASSERT_TRUE(run.line());
  run.dropVm();
  const auto lines = run.lines();
  ASSERT_FALSE(lines.empty());
  Record ended(lines.back());
  EXPECT_EQ(ended.get().getEnded().getKind(), rpc::EndKind::NEVER_FOUND);
  EXPECT_THAT(ended.get().getEnded().getDetail().cStr(), ::testing::HasSubstr("kallsyms-invalid"));
  EXPECT_EQ(run.outcome(), "exit code 3\n");
}

TEST(Monitor, EndsWhileTheMachineHasNotBooted) {
  TestKernel kernel;
  MonitorRun run(kernel, {}, nullptr, true, false);
  run.turn(50);
  run.dropVm();
  const auto lines = run.lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(Record(lines[0]).get().getEnded().getKind(), rpc::EndKind::NEVER_FOUND);
  EXPECT_EQ(run.outcome(), "exit code 3\n");
}

TEST(Monitor, RefusesMemoryThatOthersCouldWrite) {
  TestKernel kernel;
  MonitorRun run(kernel, {}, nullptr, false);
  EXPECT_TRUE(run.lines().empty());
  EXPECT_THAT(run.outcome(), ::testing::AllOf(::testing::HasSubstr("exit code 4"),
                                              ::testing::HasSubstr("memory-not-sealed")));
}

TEST(Monitor, StoresItsAnalysisAndUsesItNextTime) {
  Stored stored;
  TestKernel first;
  {
    MonitorRun run(first, {"--count", "1", "--build-id", test::KernelOptions().buildId}, &stored);
    ASSERT_EQ(run.lines().size(), 3u);
    EXPECT_EQ(run.outcome(), "exit code 0\n");
  }
  ASSERT_EQ(stored.files.size(), 1u);
  EXPECT_EQ(stored.files.begin()->first, Analysis::storeKey(test::KernelOptions().buildId));
  for (const bool told : {true, false}) {
    test::KernelOptions options;
    options.slide = 0x880'0000;
    options.vmcoreinfo = !told;  // told the build id, it needs none
    TestKernel second(options);
    std::vector<std::string> arguments{"--count", "1"};
    if (told) arguments.insert(arguments.end(), {"--build-id", options.buildId});
    MonitorRun run(second, arguments, &stored);
    const auto lines = run.lines();
    ASSERT_EQ(lines.size(), 3u);
    Record attached(lines[0]);
    EXPECT_TRUE(attached.get().getAttached().getCached());
    EXPECT_EQ(attached.get().getAttached().getVirtualSlideBytes(), options.slide);
    EXPECT_EQ(run.outcome(), "exit code 0\n");
  }
  EXPECT_EQ(stored.lookups, 4u);
}

TEST(Monitor, StoresNothingUnderABuildIdThatTheGuestAloneStates) {
  Stored stored;
  TestKernel kernel;
  for (const std::vector<std::string>& told :
       {std::vector<std::string>{}, {"--build-id", "0123456789abcdef"}}) {
    std::vector<std::string> arguments{"--count", "1"};
    arguments.insert(arguments.end(), told.begin(), told.end());
    MonitorRun run(kernel, arguments, &stored);
    EXPECT_EQ(run.lines().size(), 3u);
    EXPECT_THAT(run.outcome(), ::testing::HasSubstr("analysis not stored"));
  }
  EXPECT_TRUE(stored.files.empty());
}

TEST(Monitor, DamagedStoredAnalysisIsNotUsed) {
  Stored stored;
  stored.files[Analysis::storeKey(test::KernelOptions().buildId)] = makeMemfd("damaged", 5000);
  TestKernel kernel;
  MonitorRun run(kernel, {"--count", "1", "--build-id", test::KernelOptions().buildId}, &stored);
  const auto lines = run.lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_FALSE(Record(lines[0]).get().getAttached().getCached());
  EXPECT_THAT(run.outcome(), ::testing::HasSubstr("analysis-invalid"));
}

TEST(Monitor, CapnpFormatIsAStreamOfUnpackedMessages) {
  TestKernel kernel;
  MonitorRun run(kernel, {"--count", "2", "--period-ms", "1", "--format", "capnp"});
  const auto bytes = run.rest();
  kj::ArrayInputStream stream(kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()));
  std::vector<rpc::MonitorRecord::Which> kinds;
  while (stream.tryGetReadBuffer().size() > 0) {
    capnp::InputStreamMessageReader message(stream);
    kinds.push_back(message.getRoot<rpc::MonitorRecord>().which());
  }
  using rpc::MonitorRecord;
  EXPECT_THAT(kinds, ::testing::ElementsAre(MonitorRecord::ATTACHED, MonitorRecord::SAMPLE,
                                            MonitorRecord::SAMPLE, MonitorRecord::ENDED));
}

TEST(Monitor, TextFormatIsForPeople) {
  TestKernel kernel;
  kernel.run(1, 10, 118, "yes", 3, 5);
  MonitorRun run(kernel, {"--count", "1", "--format", "text"});
  const auto output = run.rest();
  EXPECT_THAT(output, ::testing::HasSubstr("attached to 7.3.4-test"));
  EXPECT_THAT(output, ::testing::ContainsRegex("\n  1    3 .*yes\\[118\\]"));
  EXPECT_THAT(output, ::testing::HasSubstr("ended: sample limit reached, 1 samples"));
}

TEST(MonitorSandbox, KeepsToItsBudget) {
  const auto sandbox = monitorSandbox();
  EXPECT_LE(sandbox.syscallCount(), 18u);
  for (const auto& rule : sandbox.describe()) {
    const auto name = rule.substr(0, rule.find(' '));
    for (const char* forbidden :
         {"open", "openat", "openat2", "socket", "connect", "ioctl", "execve", "execveat", "mprotect",
          "mremap", "clone", "fork", "ptrace", "pwrite64", "memfd_create", "sendto"}) {
      EXPECT_NE(name, forbidden);
    }
  }
}

// What is tried in the sandbox, and the syscall that must kill.
struct Attempt {
  const char* name;
  void (*act)(int memory);
};
const Attempt attempts[] = {
    {"openat", [](int) { (void)!open("/etc/passwd", O_RDONLY); }},
    {"socket", [](int) { (void)!socket(AF_UNIX, SOCK_STREAM, 0); }},
    {"ioctl", [](int fd) { (void)!isatty(fd); }},
    {"execve", [](int) { execl("/bin/true", "true", nullptr); }},
    {"mmap", [](int fd) { (void)!mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); }},
    {"mmap", [](int fd) { (void)!mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0); }},
    {"mmap",
     [](int) {
       (void)!mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
     }},
    {"mprotect", [](int) { mprotect(nullptr, 4096, PROT_READ); }},
    {"pwrite64", [](int fd) { (void)!pwrite(fd, "x", 1, 0); }},
    {"fcntl", [](int fd) { fcntl(fd, F_SETFL, O_APPEND); }},
    {"memfd_create", [](int) { memfd_create("x", 0); }},
    {"kill", [](int) { kill(1, 0); }},
};

void tryInSandbox(const Attempt& attempt) {
  const Fd memory = makeMemfd("memory", 4096);
  monitorSandbox().lockDown();
  attempt.act(memory.get());
  _exit(0);
}

TEST(MonitorSandboxDeathTest, KillsWhatItDoesNotNeed) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  for (const auto& attempt : attempts) {
    EXPECT_EXIT(tryInSandbox(attempt), ::testing::KilledBySignal(SIGSYS),
                text("ktstr-monitor: seccomp: forbidden syscall ", attempt.name, "\\("));
  }
}

TEST(MonitorCommandLine, NamesMistakes) {
  const auto outcomeOf = [](std::vector<std::string> arguments) {
    int errors[2];
    EXPECT_EQ(pipe2(errors, O_CLOEXEC), 0);
    const Fd readEnd(errors[0]);
    Fd writeEnd(errors[1]);
    SpawnOptions options;
    options.executable = toolPath("ktstr-monitor");
    options.arguments = std::move(arguments);
    options.standardError = writeEnd.get();
    auto child = spawn(options);
    writeEnd.reset();
    const auto status = describeWaitStatus(child.wait());
    return status + " " + readAll(readEnd.get());
  };
  EXPECT_THAT(outcomeOf({}), ::testing::StartsWith("exit code 2"));
  EXPECT_THAT(outcomeOf({"--vm", "x", "--ram", "y"}), ::testing::StartsWith("exit code 2"));
  EXPECT_THAT(outcomeOf({"--ram", "/dev/null", "--format", "xml"}), ::testing::HasSubstr("format-invalid"));
  EXPECT_THAT(outcomeOf({"--ram", "/no/such/file"}), ::testing::HasSubstr("open-failed"));
  EXPECT_THAT(outcomeOf({"--vm", "/no/such/socket"}), ::testing::HasSubstr("connect-failed"));
  EXPECT_THAT(outcomeOf({"map", "--ram", "/dev/null"}), ::testing::HasSubstr("NAME"));
  EXPECT_THAT(outcomeOf({"map", "a", "b", "c", "--ram", "/dev/null"}), ::testing::StartsWith("exit code 2"));
  EXPECT_THAT(outcomeOf({"write", ".bss", "x", "1", "--ram", "/dev/null"}), ::testing::HasSubstr("--gate"));
}

// In its sandbox, from a memory that a VMM gave.
TEST(MonitorTools, OneLookAtAKernel) {
  test::TestKernel guest;
  guest.attachScheduler("simple");
  const Fd ram = guest.file();
  const auto look = [&](std::vector<std::string> arguments) {
    int output[2];
    EXPECT_EQ(pipe2(output, O_CLOEXEC), 0);
    const Fd readEnd(output[0]);
    Fd writeEnd(output[1]);
    SpawnOptions options;
    options.executable = toolPath("ktstr-monitor");
    options.arguments = std::move(arguments);
    options.arguments.insert(options.arguments.end(), {"--ram", text("/proc/", getpid(), "/fd/", ram.get())});
    options.standardOutput = options.standardError = writeEnd.get();
    auto child = spawn(options);
    writeEnd.reset();
    const auto status = describeWaitStatus(child.wait());
    return status + ": " + readAll(readEnd.get());
  };
  EXPECT_THAT(
      look({"read", "*scx_root", "scx_sched", "ops.name"}),
      ::testing::AllOf(::testing::StartsWith("exit code 0: {"), ::testing::HasSubstr(R"("value":"simple")")));
  EXPECT_THAT(look({"events", "--format", "text"}), ::testing::HasSubstr("SCX_EV_A  0      0 0 0 0"));
  EXPECT_THAT(look({"symbol", "nothing"}),
              ::testing::StartsWith("exit code 2: ktstr-monitor: symbol-unknown"));
  EXPECT_THAT(look({"maps"}), ::testing::AllOf(::testing::StartsWith("exit code 3: "),
                                               ::testing::HasSubstr("bpf_map.id: no struct bpf_map")));
}

}  // namespace
}  // namespace ktstr
