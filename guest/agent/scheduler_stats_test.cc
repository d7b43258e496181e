#include "guest/agent/scheduler_stats.h"

#include <capnp/serialize.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The host's mailbox, the agent's channel, and a scheduler's socket.
class SchedulerStatsTest : public testing::Test {
 protected:
  ~SchedulerStatsTest() override { unlink(path_.c_str()); }

  void serve() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    listener_ = Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener_.get(), 4), 0);
  }
  // The scheduler's end of the question that was asked.
  Fd accepted(std::string& question) {
    Fd peer(accept(listener_.get(), nullptr, nullptr));
    char buffer[200];
    const ssize_t got = read(peer.get(), buffer, sizeof buffer);
    question.assign(buffer, static_cast<size_t>(std::max<ssize_t>(got, 0)));
    return peer;
  }
  std::vector<std::string> events() {
    std::vector<std::string> events;
    while (auto bytes = host_.next()) {
      auto words = kj::heapArray<capnp::word>(bytes->size() / sizeof(capnp::word));
      memcpy(words.begin(), bytes->data(), bytes->size());
      capnp::FlatArrayMessageReader reader(words);
      const auto stats = reader.getRoot<rpc::GuestEvent>().getSchedulerStats();
      events.push_back(text(stats.getRequest(), " ", stats.getAnswer().cStr(), stats.getProblem().cStr()));
    }
    return events;
  }

  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> memory_ = std::vector<Line>(4096);
  HostMailbox host_{std::as_writable_bytes(std::span(memory_)), {}};
  Channel channel_{std::as_writable_bytes(std::span(memory_)), Fd()};
  const std::string path_ = text("/tmp/ktstr-stats-", getpid());
  SchedulerStats stats_{channel_, path_};
  Fd listener_;
};

TEST_F(SchedulerStatsTest, asksAndPassesTheLineOn) {
  serve();
  stats_.look();
  EXPECT_EQ(stats_.descriptor(), -1) << "nobody wants to know";
  EXPECT_EQ(host_.requestStats(), 1U);
  stats_.look();
  std::string question;
  const Fd scheduler = accepted(question);
  EXPECT_EQ(question, "{\"req\":\"stats\",\"args\":{\"target\":\"top\"}}\n");
  stats_.look();
  EXPECT_THAT(events(), ElementsAre());
  ASSERT_EQ(write(scheduler.get(), "{\"errno\":", 9), 9);
  stats_.look();
  EXPECT_THAT(events(), ElementsAre());
  ASSERT_EQ(write(scheduler.get(), "0}\n", 3), 3);
  stats_.look();
  EXPECT_THAT(events(), ElementsAre(R"(1 {"errno":0})"));
  stats_.look();
  EXPECT_THAT(events(), ElementsAre()) << "told once";
}

TEST_F(SchedulerStatsTest, saysWhyThereIsNone) {
  host_.requestStats();
  stats_.look();
  EXPECT_THAT(events(), ElementsAre(HasSubstr("1 the scheduler serves none: ")));
  serve();
  host_.requestStats();
  stats_.look();
  std::string question;
  accepted(question);
  stats_.look();
  EXPECT_THAT(events(), ElementsAre("2 it closed the connection without an answer"));
  host_.requestStats();
  stats_.look();
  const Fd silent = accepted(question);
  usleep(600'000);
  stats_.look();
  EXPECT_THAT(events(), ElementsAre("3 no answer within 500 ms"));
}

TEST_F(SchedulerStatsTest, takesNoMoreThanThereIsRoomFor) {
  serve();
  host_.requestStats();
  stats_.look();
  std::string question;
  const Fd scheduler = accepted(question);
  const std::string part(60 << 10, 'x');
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(send(scheduler.get(), part.data(), part.size(), 0), static_cast<ssize_t>(part.size()));
    stats_.look();
  }
  EXPECT_THAT(events(), ElementsAre("1 its answer has more than 65536 bytes"));
}

}  // namespace
}  // namespace ktstr::agent
