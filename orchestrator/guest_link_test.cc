#include "orchestrator/guest_link.h"
#include "protocol/file.h"

#include <capnp/serialize.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>

#include "protocol/mailbox.h"

namespace ktstr {
namespace {

// A mailbox with a guest on its other side, the two streams of a machine, and a record to write to.
class GuestLinkTest : public ::testing::Test {
 protected:
  GuestLinkTest() {
    char pattern[] = "/tmp/ktstr-link-XXXXXX";
    root_ = mkdtemp(pattern);
    record_.emplace(RecordStore(root_).begin("link", "eevdf", 1));
    link_ = std::make_unique<GuestLink>(
        Mapping(memory_.get(), 0, size, PROT_READ | PROT_WRITE), std::as_bytes(std::span("orders")), *record_,
        [this](rpc::GuestEvent::Reader event) { seen_.push_back(event.which()); });
    guest_ = std::make_unique<GuestMailbox>(itsView_.bytes());
  }
  ~GuestLinkTest() override {
    record_.reset();
    std::filesystem::remove_all(root_);
  }

  void post(const std::function<void(rpc::GuestEvent::Builder)>& fill) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<rpc::GuestEvent>());
    const auto words = capnp::messageToFlatArray(message);
    ASSERT_TRUE(guest_->post(std::as_bytes(std::span(words.begin(), words.size()))));
  }

  static constexpr size_t size = 1 << 20;
  std::string root_;
  Fd memory_ = makeMemfd("mailbox", size);
  Mapping itsView_{memory_.get(), 0, size, PROT_READ | PROT_WRITE};
  std::optional<PendingRecord> record_;
  std::vector<rpc::GuestEvent::Which> seen_;
  std::unique_ptr<GuestLink> link_;
  std::unique_ptr<GuestMailbox> guest_;
};

TEST_F(GuestLinkTest, TakesEventsInOrderAndKeepsThem) {
  post([](auto event) { event.initReady().setRelease("7.3.4"); });
  post([](auto event) { event.setScenarioStarted(); });
  link_->drain();
  EXPECT_EQ(seen_, (std::vector{rpc::GuestEvent::READY, rpc::GuestEvent::SCENARIO_STARTED}));
  ASSERT_EQ(link_->events().size(), 2u);
  EXPECT_STREQ(link_->events()[0].getReady().getRelease().cStr(), "7.3.4");
  EXPECT_TRUE(link_->corruption().empty());
}

TEST_F(GuestLinkTest, TheDoorbellBringsAnEventAndTheConsoleIsKept) {
  auto io = kj::setupAsyncIo();
  auto [ourConsole, itsConsole] = makeSocketPair();
  auto [ourBell, itsBell] = makeSocketPair();
  auto pumping = link_->pump(*io.provider, *io.lowLevelProvider, std::move(ourConsole), std::move(ourBell));
  post([](auto event) { event.setScenarioEnded(); });
  writeAll(itsBell.get(), "!");
  writeAll(itsConsole.get(), "Linux version\n");
  itsBell.reset();
  itsConsole.reset();
  pumping.wait(io.waitScope);
  EXPECT_EQ(seen_, (std::vector{rpc::GuestEvent::SCENARIO_ENDED}));
  EXPECT_EQ(link_->console(), "Linux version\n");
}

TEST_F(GuestLinkTest, AMessageThatIsNoneIsNamedOnceAndEndsTheReading) {
  const std::byte noise[24] = {std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0x7f}};
  ASSERT_TRUE(guest_->post(noise));
  post([](auto event) { event.setScenarioStarted(); });
  link_->drain();
  EXPECT_FALSE(link_->corruption().empty());
  link_->drain();
  EXPECT_TRUE(seen_.empty());
}

TEST_F(GuestLinkTest, BytesThatAreNoWordsAreRefused) {
  ASSERT_TRUE(guest_->post(std::as_bytes(std::span("abcdefghi", 9))));
  link_->drain();
  EXPECT_NE(link_->corruption().find("event-invalid"), std::string::npos) << link_->corruption();
}

TEST_F(GuestLinkTest, StopReachesTheGuest) {
  EXPECT_FALSE(guest_->stopRequested());
  link_->requestStop();
  EXPECT_TRUE(guest_->stopRequested());
}

}  // namespace
}  // namespace ktstr
