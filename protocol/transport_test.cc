#include "protocol/transport.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "protocol/call_error.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/log.h"
#include "protocol/machine.capnp.h"
#include "protocol/socket.h"
#include "protocol/test_error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

capnp::Capability::Client nothing() {
  return nullptr;
}

ino_t inodeOf(int fd) {
  struct stat status {};
  EXPECT_EQ(fstat(fd, &status), 0);
  return status.st_ino;
}

ptrdiff_t openDescriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return std::distance(begin(entries), end(entries));
}

// Takes memory objects and remembers their inodes; fails to boot; never returns from reset().
class TestVmm final : public rpc::Vmm::Server {
 public:
  std::vector<ino_t> given;

  kj::Promise<void> info(InfoContext context) override {
    context.getResults().initInfo().setEngine(std::string(100'000, 'x').c_str());
    return kj::READY_NOW;
  }
  kj::Promise<void> giveMemory(GiveMemoryContext context) override {
    return takeFd(context.getParams().getFd()).then([this](Fd fd) { given.push_back(inodeOf(fd.get())); });
  }
  kj::Promise<void> boot(BootContext) override {
    throw Error(ExitCode::usage, "memory-overlap", "region 1 at 0x1000: overlaps", "fix it (really)");
  }
};

// Hands out one descriptor as console each time it is asked; thaw() takes for ever.
class TestMachine final : public rpc::Machine::Server {
 public:
  explicit TestMachine(rpc::Fd::Client console) : console_(kj::mv(console)) {}
  kj::Promise<void> console(ConsoleContext context) override {
    context.getResults().setStream(console_);
    return kj::READY_NOW;
  }
  kj::Promise<void> thaw(ThawContext) override { return kj::NEVER_DONE; }

 private:
  rpc::Fd::Client console_;
};

class PlainFd final : public rpc::Fd::Server {};

// Both ends in one event loop.
struct Pair {
  Pair(kj::AsyncIoContext& io, std::pair<Fd, Fd> sockets, capnp::Capability::Client served,
       ConnectionLimits limits = {})
      : server(*io.lowLevelProvider, std::move(sockets.first), kj::mv(served), limits),
        client(*io.lowLevelProvider, std::move(sockets.second), nothing()) {}
  Connection server;
  Connection client;
};

template <typename T>
std::string errorOf(kj::Promise<T> promise, kj::WaitScope& wait) {
  std::string result = "no error";
  promise
      .then([](auto&&...) {},
            [&](kj::Exception&& exception) {
              try {
                rethrowAsError(exception);
              } catch (const Error& error) {
                result = error.what();
              }
            })
      .wait(wait);
  return result;
}

kj::Promise<void> giveTo(rpc::Vmm::Client vmm, rpc::Fd::Client fd) {
  auto request = vmm.giveMemoryRequest();
  request.setFd(fd);
  return request.send().ignoreResult().attach(kj::mv(fd));
}

TEST(Peer, IsKnownByItsUid) {
  const auto sockets = makeSocketPair();
  EXPECT_EQ(peerUid(sockets.first.get()), geteuid());
  EXPECT_THAT(ktstr::errorOf([] { peerUid(-1); }), HasSubstr("peer-unknown"));
}

TEST(ConnectionCalls, CarryOurErrorsByName) {
  auto io = kj::setupAsyncIo();
  Pair pair(io, makeSocketPair(), kj::heap<TestVmm>());
  auto vmm = pair.client.bootstrap().castAs<rpc::Vmm>();
  EXPECT_EQ(errorOf(vmm.bootRequest().send().ignoreResult(), io.waitScope),
            "memory-overlap: region 1 at 0x1000: overlaps (fix it (really))");
  EXPECT_EQ(vmm.infoRequest().send().wait(io.waitScope).getInfo().getEngine().size(), 100'000u);
}

TEST(ConnectionCalls, FailWhenThePeerGoes) {
  auto io = kj::setupAsyncIo();
  auto sockets = makeSocketPair();
  auto server = kj::heap<Connection>(*io.lowLevelProvider, std::move(sockets.first),
                                     kj::heap<TestMachine>(kj::heap<PlainFd>()));
  Connection client(*io.lowLevelProvider, std::move(sockets.second), nothing());
  auto machine = client.bootstrap().castAs<rpc::Machine>();
  auto pending = machine.thawRequest().send().ignoreResult();
  EXPECT_FALSE(pending.poll(io.waitScope));
  server = nullptr;
  EXPECT_THAT(errorOf(kj::mv(pending), io.waitScope), HasSubstr("peer-disconnected: "));
  client.onDisconnect().wait(io.waitScope);
  EXPECT_THAT(errorOf(machine.startRequest().send().ignoreResult(), io.waitScope),
              HasSubstr("peer-disconnected: "));
}

TEST(ConnectionFds, TravelBothWays) {
  auto io = kj::setupAsyncIo();
  auto server = kj::heap<TestVmm>();
  TestVmm& vmm = *server;
  Pair pair(io, makeSocketPair(), kj::mv(server));
  Fd memory = makeMemfd("test", 4096);
  const ino_t inode = inodeOf(memory.get());
  giveTo(pair.client.bootstrap().castAs<rpc::Vmm>(), giveFd(std::move(memory)).castAs<rpc::Fd>())
      .wait(io.waitScope);
  EXPECT_EQ(vmm.given, std::vector{inode});

  Fd stream = makeMemfd("console", 1);
  const ino_t console = inodeOf(stream.get());
  Pair other(io, makeSocketPair(), kj::heap<TestMachine>(giveFd(std::move(stream)).castAs<rpc::Fd>()));
  auto reply = other.client.bootstrap().castAs<rpc::Machine>().consoleRequest().send().wait(io.waitScope);
  EXPECT_EQ(inodeOf(takeFd(reply.getStream()).wait(io.waitScope).get()), console);
}

TEST(ConnectionFds, AreMissedByName) {
  auto io = kj::setupAsyncIo();
  Pair pair(io, makeSocketPair(), kj::heap<TestVmm>());
  auto vmm = pair.client.bootstrap().castAs<rpc::Vmm>();
  EXPECT_THAT(errorOf(giveTo(vmm, kj::heap<PlainFd>()), io.waitScope), HasSubstr("no-descriptor"));
}

TEST(ConnectionFds, AreRefusedByALimitOfNone) {
  auto io = kj::setupAsyncIo();
  Pair pair(io, makeSocketPair(), kj::heap<TestVmm>(), {.fdsPerMessage = 0});
  auto vmm = pair.client.bootstrap().castAs<rpc::Vmm>();
  const ptrdiff_t before = openDescriptors();
  EXPECT_THAT(errorOf(giveTo(vmm, giveFd(makeMemfd("test", 1)).castAs<rpc::Fd>()), io.waitScope),
              HasSubstr("no-descriptor"));
  while (openDescriptors() != before)
    io.provider->getTimer().afterDelay(1 * kj::MILLISECONDS).wait(io.waitScope);
}

// ---- what a stream may do to messages
// ----------------------------------------------------------------------

// A thread between two sockets that passes bytes on in small pieces and every descriptor `copies` times, with
// the first piece of what it came with.
class Chopper {
 public:
  Chopper(size_t piece, size_t copies) : piece_(piece), copies_(copies) {
    auto left = makeSocketPair();
    auto right = makeSocketPair();
    ends = {std::move(left.first), std::move(right.first)};
    there_ = std::jthread(
        [this, from = left.second.duplicate(), to = right.second.duplicate()] { run(from, to); });
    back_ =
        std::jthread([this, from = std::move(right.second), to = std::move(left.second)] { run(from, to); });
  }

  std::pair<Fd, Fd> ends;

 private:
  union Control {
    char bytes[CMSG_SPACE(16 * sizeof(int))];
    cmsghdr align;
  };

  void run(const Fd& from, const Fd& to) const {
    std::string pending;
    std::vector<int> fds;  // belong to the first byte of `pending`
    const auto flush = [&] {
      if (!pending.empty()) passOn(to, std::exchange(pending, {}), std::exchange(fds, {}));
    };
    for (;;) {
      char byte;  // one at a time: only so it is known to which byte descriptors belong
      std::vector<int> came;
      ssize_t got = receive(from, byte, came, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) {
        flush();
        got = receive(from, byte, came, 0);
      }
      if (got <= 0) break;
      if (!came.empty()) {
        flush();
        fds = came;
      }
      pending += byte;
      if (pending.size() == piece_) flush();
    }
    shutdown(to.get(), SHUT_WR);
  }

  static ssize_t receive(const Fd& from, char& byte, std::vector<int>& fds, int flags) {
    iovec part{&byte, 1};
    Control control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    const ssize_t got = recvmsg(from.get(), &message, flags | MSG_CMSG_CLOEXEC);
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message); got > 0 && header != nullptr) {
      const int* first = reinterpret_cast<const int*>(CMSG_DATA(header));
      fds.assign(first, first + (header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    }
    return got;
  }

  void passOn(const Fd& to, std::string bytes, const std::vector<int>& fds) const {
    iovec part{bytes.data(), bytes.size()};
    Control control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      const size_t size = fds.size() * copies_ * sizeof(int);
      control.align.cmsg_len = CMSG_LEN(size);
      control.align.cmsg_level = SOL_SOCKET;
      control.align.cmsg_type = SCM_RIGHTS;
      int* out = reinterpret_cast<int*>(CMSG_DATA(&control.align));
      for (size_t i = 0; i < fds.size() * copies_; ++i) out[i] = fds[i % fds.size()];
      message.msg_control = control.bytes;
      message.msg_controllen = CMSG_SPACE(size);
    }
    (void)!sendmsg(to.get(), &message, MSG_NOSIGNAL);
    for (const int fd : fds) close(fd);
  }

  size_t piece_;
  size_t copies_;
  std::jthread there_, back_;
};

// Imports ten memory objects over a chopped connection; checks that each one arrived as itself.
void importChopped(size_t piece, size_t copies) {
  auto io = kj::setupAsyncIo();
  Chopper chopper(piece, copies);
  auto server = kj::heap<TestVmm>();
  TestVmm& seen = *server;
  Pair pair(io, std::move(chopper.ends), kj::mv(server));
  auto vmm = pair.client.bootstrap().castAs<rpc::Vmm>();
  std::vector<ino_t> sent;
  auto replies = kj::heapArrayBuilder<kj::Promise<void>>(10);
  for (int i = 0; i < 10; ++i) {
    Fd memory = makeMemfd("test", 4096);
    sent.push_back(inodeOf(memory.get()));
    replies.add(giveTo(vmm, giveFd(std::move(memory)).castAs<rpc::Fd>()));
  }
  kj::joinPromises(replies.finish()).wait(io.waitScope);
  EXPECT_EQ(seen.given, sent);
}

TEST(ConnectionFds, SurviveMessagesInPieces) {  // capnproto issue 2359
  for (const size_t piece : {1u, 3u, 7u, 8u, 9u, 24u, 1000u}) {
    SCOPED_TRACE(text("pieces of ", piece));
    importChopped(piece, 1);
  }
}

TEST(ConnectionFds, AreClosedBeyondTheLimit) {
  const ptrdiff_t before = openDescriptors();
  for (const size_t piece : {8u, 1000u}) importChopped(piece, 9);
  EXPECT_EQ(openDescriptors(), before);
}

TEST(ConnectionFds, AreTheRightOnesBehindAFullQueue) {  // capnproto issue 2755: keep a reference of your own
  auto io = kj::setupAsyncIo();
  Fd stream = makeMemfd("console", 1);
  const ino_t console = inodeOf(stream.get());
  auto kept = giveFd(std::move(stream)).castAs<rpc::Fd>();
  auto sockets = makeSocketPair();
  const int small = 4096;
  setsockopt(sockets.first.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  Pair pair(io, std::move(sockets), kj::heap<TestMachine>(kept));
  auto machine = pair.client.bootstrap().castAs<rpc::Machine>();
  machine.startRequest().send().ignoreResult().then([] {}, [](kj::Exception&&) {}).wait(io.waitScope);
  kj::Vector<kj::Promise<void>> replies;
  for (int i = 0; i < 200; ++i) {
    auto reply = machine.consoleRequest().send();
    if (i % 2 == 0) continue;  // cancelled: the server may drop its result while the message is queued
    replies.add(reply.then([](auto&& got) { return takeFd(got.getStream()); }).then([&](Fd fd) {
      EXPECT_EQ(inodeOf(fd.get()), console);
      const Fd recycled = makeMemfd("wrong", 1);
    }));
  }
  kj::joinPromises(replies.releaseAsArray()).wait(io.waitScope);
}

// ---- limits
// ------------------------------------------------------------------------------------------------

class SlowGate final : public rpc::WriteGate::Server {
 public:
  kj::Vector<kj::Own<kj::PromiseFulfiller<void>>> calls;
  bool fast = false;

  kj::Promise<void> write(WriteContext) override {
    auto paf = kj::newPromiseAndFulfiller<void>();
    if (fast) paf.fulfiller->fulfill();
    calls.add(kj::mv(paf.fulfiller));
    return kj::mv(paf.promise);
  }
};

TEST(ConnectionLimitsOf, PauseAPeerWithTooMuchInFlight) {
  auto io = kj::setupAsyncIo();
  auto server = kj::heap<SlowGate>();
  SlowGate& gate = *server;
  Pair pair(io, makeSocketPair(), kj::mv(server), {.flowBytes = 256 << 10});
  auto client = pair.client.bootstrap().castAs<rpc::WriteGate>();
  auto replies = kj::heapArrayBuilder<kj::Promise<void>>(50);
  for (int i = 0; i < 50; ++i) {
    auto request = client.writeRequest();
    request.initBytes(64 << 10);
    replies.add(request.send().ignoreResult());
  }
  auto all = kj::joinPromises(replies.finish());
  while (gate.calls.size() < 4) io.provider->getTimer().afterDelay(1 * kj::MILLISECONDS).wait(io.waitScope);
  EXPECT_FALSE(all.poll(io.waitScope));
  EXPECT_LE(gate.calls.size(), 5u);
  gate.fast = true;
  for (auto& call : gate.calls) call->fulfill();
  all.wait(io.waitScope);
  EXPECT_EQ(gate.calls.size(), 50u);
}

// A server on a socket of its own, in this thread's event loop.
struct Served : testing::Test {
  Served() {
    char name[] = "/tmp/ktstr-transport-XXXXXX";
    directory = mkdtemp(name);
    chmod(directory.c_str(), 0755);
    path = directory + "/test.sock";
    options.name = path;
    options.maxConnections = 2;
  }
  ~Served() noexcept override { std::filesystem::remove_all(directory); }

  void start() {
    options.limits.messageWords = 1 << 16;
    options.bootstrap = [](uid_t) { return kj::heap<TestVmm>(); };
    options.gone = [this] { ++gone; };
    running = serve(io, listenUnix(path, 0666), options).eagerlyEvaluate([](kj::Exception&& exception) {
      FAIL() << kj::str(exception).cStr();
    });
  }
  void turnUntil(const std::function<bool()>& done) {
    while (!done()) io.provider->getTimer().afterDelay(1 * kj::MILLISECONDS).wait(io.waitScope);
  }
  // Turns the loop until the server closes `socket`; what it sent before is thrown away.
  void expectClosed(const Fd& socket) {
    char buffer[4096];
    ssize_t got = -1;
    turnUntil([&] {
      while ((got = recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
      }
      return got == 0 || (errno != EAGAIN && errno != EINTR);
    });
  }
  void expectServed() {
    Connection client(*io.lowLevelProvider, connectUnix(path), nothing());
    auto vmm = client.bootstrap().castAs<rpc::Vmm>();
    EXPECT_GT(vmm.infoRequest().send().wait(io.waitScope).getInfo().getEngine().size(), 0u);
  }

  kj::AsyncIoContext io = kj::setupAsyncIo();
  std::string directory;
  std::string path;
  AcceptOptions options;
  int gone = 0;
  kj::Promise<void> running = kj::NEVER_DONE;
};

TEST_F(Served, ServesOneAfterTheOtherAndNoticesTheEnd) {
  start();
  struct stat status {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0666u);
  const ptrdiff_t before = openDescriptors();
  for (int i = 1; i <= 5; ++i) {
    expectServed();
    turnUntil([&] { return gone == i; });
  }
  EXPECT_EQ(openDescriptors(), before);
}

TEST_F(Served, RefusesConnectionsBeyondTheLimit) {
  start();
  Fd first = connectUnix(path);
  const Fd second = connectUnix(path);
  const Fd third = connectUnix(path);
  testing::internal::CaptureStderr();
  log::start("test");
  expectClosed(third);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("refused a connection beyond the limit of 2"));
  first.reset();
  turnUntil([&] { return gone == 1; });
  expectServed();
}

TEST_F(Served, RefusesOtherUsers) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  start();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd connected(ends[0]), connecting(ends[1]);
  const auto connectAs = [&](uid_t uid) {
    const pid_t pid = fork();
    if (pid == 0) {
      if (setuid(uid) != 0) _exit(9);
      char byte = 0;
      const Fd socket = connectUnix(path);
      writeAll(connecting.get(), "c");
      _exit(read(socket.get(), &byte, 1) == 0 ? 0 : 1);  // until the server closes it
    }
    char byte;
    turnUntil([&] { return read(connected.get(), &byte, 1) == 1; });
    return pid;
  };
  testing::internal::CaptureStderr();
  log::start("test");
  const pid_t refused = connectAs(65534);
  int result = -1;
  turnUntil([&] { return waitpid(refused, &result, WNOHANG) == refused; });
  EXPECT_EQ(result, 0);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("refused a connection from uid 65534"));
  EXPECT_EQ(gone, 0);

  options.allowedUids = {65534};
  running = kj::NEVER_DONE;
  start();
  const pid_t accepted = connectAs(65534);
  expectServed();
  turnUntil([&] { return gone == 1; });
  kill(accepted, SIGKILL);
  turnUntil([&] { return gone == 2; });  // called for accepted connections only
  waitpid(accepted, &result, 0);
}

TEST_F(Served, SurvivesGarbage) {
  start();
  for (const unsigned seed : {0u, 1u, 0x7fu, 0xffu}) {
    const Fd socket = connectUnix(path);
    std::string bytes(4096, static_cast<char>(seed));
    for (size_t i = 0; seed == 1 && i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 37);
    writeAll(socket.get(), bytes);
    shutdown(socket.get(), SHUT_WR);
    expectClosed(socket);
  }
  turnUntil([&] { return gone == 4; });
  expectServed();
}

TEST_F(Served, DropsAPeerWhoseMessageIsTooLarge) {
  start();
  const Fd socket = connectUnix(path);
  const uint32_t header[] = {0, (1 << 16) + 1};  // one segment, one word more than allowed
  writeAll(socket.get(), std::as_bytes(std::span(header)));
  expectClosed(socket);
  expectServed();
}

TEST_F(Served, SurvivesAPeerThatStopsInAMessage) {
  start();
  {
    const Fd socket = connectUnix(path);
    const uint32_t header[] = {0, 1 << 15};
    writeAll(socket.get(), std::as_bytes(std::span(header)));
  }
  turnUntil([&] { return gone == 1; });
  expectServed();
}

}  // namespace
}  // namespace ktstr
