// Clients that want too much, on a real VMM that listens on sockets while its machine runs.
#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <filesystem>
#include <thread>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/socket.h"
#include "protocol/text.h"
#include "vmm/test_fixture.h"

extern char** environ;

namespace ktstr::vmm {
namespace {

class Flood : public testing::TestWithParam<const char*> {
 protected:
  ~Flood() noexcept override {}

  void SetUp() override {
    if (std::string_view(GetParam()) == "ktstr-vmm") {
      if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
    }
    char name[] = "/tmp/ktstr-flood-XXXXXX";
    directory_ = mkdtemp(name);
    SpawnOptions options = serving(GetParam(), directory_);
    // AddressSanitizer, where it is built in, keeps what has been freed: little of it, as memory is measured
    // here.
    options.environment = {"KTSTR_LOG=info", "ASAN_OPTIONS=quarantine_size_mb=1"};
    options.standardError = log_.get();
    for (char** variable = environ; *variable != nullptr; ++variable)
      options.environment.push_back(*variable);
    Child vmm = spawn(options);
    Fd gate;  // the last that is made; its file is there before anybody listens
    ASSERT_TRUE(eventually(5000, [&] { return canConnect(path("gate"), gate); })) << log();
    client_.emplace(std::move(vmm), connectUnix(path("control")), connectUnix(path("observe")),
                    std::move(gate));
    vm_.emplace(client_->boot(machine_));
    client_->takeDoorbell(*vm_);
    client_->wait(vm_->startRequest().send());
    expectAlive();
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static bool canConnect(const std::string& path, Fd& socket) {
    try {
      socket = connectUnix(path);
      return true;
    } catch (const Error&) {
      return false;
    }
  }
  std::string path(const std::string& name) const { return directory_ + "/" + name + ".sock"; }
  std::string log() const { return readAll(log_.get()); }
  size_t countInLog(const std::string& what) const {
    const std::string all = log();
    size_t count = 0;
    for (size_t at = 0; (at = all.find(what, at)) != std::string::npos; at += what.size()) ++count;
    return count;
  }
  uint64_t counter() {
    uint64_t count = 0;
    EXPECT_EQ(pread(machine_.ram.get(), &count, sizeof count, kFlatCounter),
              static_cast<ssize_t>(sizeof count));
    return count;
  }
  void expectAlive() {
    client_->ring("e1");
    EXPECT_EQ(client_->hear(), '2');
  }
  ptrdiff_t descriptors() {
    const std::filesystem::directory_iterator entries(text("/proc/", client_->process().pid(), "/fd"));
    return std::distance(begin(entries), end(entries));
  }
  uint64_t anonymousBytes() {
    const std::string status = readFile(text("/proc/", client_->process().pid(), "/status"));
    return std::stoull(status.substr(status.find("RssAnon:") + 8)) * 1024;
  }

  TestMachine machine_;
  const Fd log_ = makeMemfd("log", 0);
  std::string directory_;
  std::optional<TestClient> client_;
  std::optional<rpc::Machine::Client> vm_;
};

// Whether the peer closes the connection without a word.
bool isTurnedAway(const Fd& connection) {
  char byte = 0;
  return read(connection.get(), &byte, 1) <= 0;
}

TEST_P(Flood, TenThousandObserversDoNotDisturbTheMachine) {
  std::vector<Fd> held;  // with the client's own as many as there may be
  for (int i = 0; i < 15; ++i) held.push_back(connectUnix(path("observe")));
  std::atomic<int> turnedAway = 0;
  std::atomic<bool> done = false;
  std::jthread flood([&] {
    std::deque<Fd> visitors;
    for (int i = 0; i < 10'000; ++i) {
      visitors.push_back(connectUnix(path("observe")));
      if (visitors.size() < 100) continue;
      turnedAway += isTurnedAway(visitors.front());
      visitors.pop_front();
    }
    for (const Fd& visitor : visitors) turnedAway += isTurnedAway(visitor);
    done = true;
  });
  const uint64_t counted = counter();
  int answered = 0;
  for (; !done; ++answered) client_->wait(client_->vmm().infoRequest().send());
  EXPECT_GT(answered, 2) << "during the flood";
  EXPECT_GT(counter(), counted);
  flood.join();
  EXPECT_EQ(turnedAway, 10'000);
  EXPECT_EQ(countInLog("refused a connection beyond the limit of 16"), 10'000u);
  expectAlive();
  held.clear();
  EXPECT_TRUE(eventually(5000, [&] {
    Connection late(*client_->io().lowLevelProvider, connectUnix(path("observe")), nullptr);
    auto observer = late.bootstrap().castAs<rpc::Observer>();
    return errorOf([&] { client_->wait(observer.memoryRequest().send()); }) == "no error";
  })) << "places that became free are given again";
}

// A Cap'n Proto RPC message as it is on the wire.
template <typename Fill>
std::string message(Fill&& fill) {
  capnp::MallocMessageBuilder builder;
  fill(builder.initRoot<capnp::rpc::Message>());
  const auto words = capnp::messageToFlatArray(builder);
  const auto bytes = words.asBytes();
  return {bytes.begin(), bytes.end()};
}

// Sends the bytes with the descriptor `copies` times.
void sendWith(const Fd& socket, std::string bytes, int fd, size_t copies) {
  std::vector<char> control(CMSG_SPACE(copies * sizeof(int)));
  iovec part{bytes.data(), bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(copies * sizeof(int));
  for (size_t i = 0; i < copies; ++i) memcpy(CMSG_DATA(rights) + i * sizeof(int), &fd, sizeof fd);
  ASSERT_EQ(sendmsg(socket.get(), &header, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

TEST_P(Flood, DescriptorsThatNobodyAskedForAreClosed) {
  const ptrdiff_t before = descriptors();
  {
    const Fd visitor = connectUnix(path("observe"));
    const Fd null = openFile("/dev/null", O_RDONLY);
    for (uint32_t question = 0; question < 200; ++question) {
      sendWith(visitor, message([&](auto root) { root.initBootstrap().setQuestionId(question); }), null.get(),
               200);
      char answer[4096];
      ASSERT_GT(read(visitor.get(), answer, sizeof answer), 0);
      EXPECT_LE(descriptors(), before + 3) << "the connection, and what came with the last message";
    }
  }
  EXPECT_TRUE(eventually(5000, [&] { return descriptors() == before; }));
  expectAlive();
}

TEST_P(Flood, GateWritesAreAllLoggedInBoundedMemory) {
  constexpr unsigned kWrites = 5'000, kLargeWrites = 100;
  auto request = vm_->writeGateRequest();
  auto range = request.initRanges(1)[0];
  range.setGpa(0x200000);
  range.setSize(65536);
  request.setPublish(true);
  client_->wait(request.send());
  const auto writeMany = [&](unsigned count, unsigned size) {
    auto answers = kj::heapArrayBuilder<kj::Promise<void>>(count);
    for (unsigned i = 0; i < count; ++i) {
      auto write = client_->gate().writeRequest();
      write.setGpa(0x200000);
      memset(write.initBytes(size).begin(), 'G', size);
      answers.add(write.send().ignoreResult());
    }
    client_->wait(kj::joinPromises(answers.finish()));
  };
  writeMany(100, 8);
  const uint64_t before = anonymousBytes();
  writeMany(kWrites, 8);
  writeMany(kLargeWrites, 65536);
  EXPECT_LT(anonymousBytes(), before + (8 << 20));
  EXPECT_EQ(countInLog("wrote 8 bytes at 0x200000"), kWrites + 100);
  EXPECT_EQ(countInLog("wrote 65536 bytes at 0x200000"), kLargeWrites);
  expectAlive();
}

TEST_P(Flood, APeerThatReadsNoAnswersIsReadNoFurther) {
  const uint64_t before = anonymousBytes();
  const Fd visitor = connectUnix(path("gate"));
  setNonBlocking(visitor.get());
  std::string all = message([](auto root) { root.initBootstrap().setQuestionId(0); });
  for (uint32_t question = 1; question < 20'000; ++question) {
    all += message([&](auto root) {
      auto call = root.initCall();
      call.setQuestionId(question);
      call.initTarget().initPromisedAnswer().setQuestionId(0);
      call.setInterfaceId(capnp::typeId<rpc::WriteGate>());
      call.setMethodId(0);
    });
  }
  size_t sent = 0;
  for (int idle = 0; sent < all.size() && idle < 30;) {
    const ssize_t got = send(visitor.get(), all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
    if (got > 0) {
      sent += static_cast<size_t>(got);
      idle = 0;
    } else {
      usleep(10'000);
      ++idle;
    }
  }
  expectAlive();
  client_->wait(client_->vmm().infoRequest().send());
  EXPECT_LT(anonymousBytes(), before + (8 << 20));
}

KTSTR_ON_BOTH_ACCELERATORS(Flood);

}  // namespace
}  // namespace ktstr::vmm
