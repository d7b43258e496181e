#include "protocol/mailbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "protocol/text.h"

#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

constexpr size_t size = 64 * 1024;

std::vector<std::byte> bytesOf(std::string_view string) {
  const auto bytes = std::as_bytes(std::span(string));
  return {bytes.begin(), bytes.end()};
}

struct Mailbox : testing::Test {
  alignas(4096) std::byte storage[size] = {};
  std::span<std::byte> memory{storage};
  HostMailbox host{memory, bytesOf("orders")};
  GuestMailbox guest{memory};
  MailboxHeader& header = *reinterpret_cast<MailboxHeader*>(storage);
  std::span<std::byte> ring =
      memory.subspan(mailboxLayout(size).ringOffset, mailboxLayout(size).ringCapacity);

  void setRecord(uint32_t length, uint32_t crc) {
    memcpy(ring.data(), &length, 4);
    memcpy(ring.data() + 4, &crc, 4);
  }
  std::string nextError() {
    return errorOf([&] { host.next(); });
  }
};

TEST(MailboxLayoutOf, FitsAndAligns) {
  for (const size_t bytes : {size, size + 4096, size_t{4} << 20, size_t{6} << 20}) {
    const MailboxLayout layout = mailboxLayout(bytes);
    EXPECT_EQ(layout.ringOffset, mailboxOrdersOffset + layout.ordersCapacity);
    EXPECT_LE(layout.ringOffset + layout.ringCapacity, bytes);
    EXPECT_GT(2 * layout.ringCapacity, bytes - layout.ringOffset);
    EXPECT_EQ(layout.ringCapacity & (layout.ringCapacity - 1), 0u);
  }
  EXPECT_THAT(errorOf([] { mailboxLayout(size - 1); }), HasSubstr("mailbox-too-small: 65535 bytes"));
}

TEST(Crc32, IsThatOfIeee) {
  EXPECT_EQ(crc32(bytesOf("123456789")), 0xcbf43926u);
}

TEST_F(Mailbox, CarriesOrdersAndEvents) {
  EXPECT_EQ(guest.orders(), bytesOf("orders"));
  EXPECT_FALSE(host.next());
  EXPECT_TRUE(guest.post(bytesOf("one")));
  EXPECT_TRUE(guest.post(bytesOf("two and more")));
  EXPECT_EQ(host.next(), bytesOf("one"));
  EXPECT_EQ(host.next(), bytesOf("two and more"));
  EXPECT_FALSE(host.next());
  EXPECT_EQ(guest.letGo(), 0u);
  host.letGoOn();
  host.letGoOn();
  EXPECT_EQ(guest.letGo(), 2u);
  EXPECT_FALSE(guest.stopRequested());
  host.requestStop();
  EXPECT_TRUE(guest.stopRequested());
}

TEST_F(Mailbox, WrapsAroundAtEveryOffset) {
  for (size_t i = 0; i < 3000; ++i) {
    const std::vector<std::byte> payload(1 + i * 7 % 1000, static_cast<std::byte>(i));
    ASSERT_TRUE(guest.post(payload));
    ASSERT_EQ(host.next(), payload);
  }
  EXPECT_GT(header.head.load(), 10 * ring.size());
}

TEST_F(Mailbox, CountsWhatDoesNotFitAndKeepsTheRest) {
  size_t posted = 0;
  while (guest.post(std::vector<std::byte>(1000, static_cast<std::byte>(posted)))) ++posted;
  EXPECT_EQ(posted, ring.size() / 1008);
  EXPECT_FALSE(guest.fits(1000));
  EXPECT_FALSE(guest.fits(0));
  EXPECT_FALSE(guest.post(std::vector<std::byte>(ring.size())));
  EXPECT_FALSE(guest.post({}));
  EXPECT_EQ(host.dropped(), 3u);
  for (size_t i = 0; i < posted; ++i) {
    EXPECT_EQ(host.next(), std::vector<std::byte>(1000, static_cast<std::byte>(i)));
  }
  EXPECT_FALSE(host.next());
  EXPECT_TRUE(guest.fits(ring.size() - 8));
  EXPECT_FALSE(guest.fits(ring.size() - 7));
  EXPECT_TRUE(guest.post(std::vector<std::byte>(ring.size() - 8)));
  EXPECT_EQ(host.next()->size(), ring.size() - 8);
}

TEST_F(Mailbox, IsSafeBetweenTwoThreads) {
  std::jthread poster([&] {
    for (uint32_t i = 0; i < 20000;) {
      if (guest.post(std::as_bytes(std::span(&i, 1)))) ++i;
    }
  });
  for (uint32_t i = 0; i < 20000;) {
    const auto payload = host.next();
    if (!payload) continue;
    uint32_t got;
    ASSERT_EQ(payload->size(), sizeof got);
    memcpy(&got, payload->data(), sizeof got);
    ASSERT_EQ(got, i++);
  }
}

TEST_F(Mailbox, RefusesImpossibleIndices) {
  for (const uint64_t head : {uint64_t{4}, uint64_t{ring.size() + 8}, ~uint64_t{7}, ~uint64_t{0}}) {
    header.head = head;
    EXPECT_THAT(nextError(), HasSubstr(text("mailbox-corrupt: head ", head, ", tail 0"))) << head;
  }
}

TEST_F(Mailbox, RefusesAHeadThatWentBack) {
  guest.post(bytesOf("one"));
  host.next();
  header.head = 8;
  EXPECT_THAT(nextError(), HasSubstr("mailbox-corrupt: head 8, tail 16"));
}

TEST_F(Mailbox, RefusesImpossibleLengths) {
  header.head = 16;
  for (const uint32_t length : {0u, 9u, 1u << 20, ~0u, ~0u - 7}) {
    setRecord(length, 0);
    EXPECT_THAT(nextError(), HasSubstr(text("record of ", length, " bytes"))) << length;
  }
}

TEST_F(Mailbox, RefusesAWrongChecksum) {
  guest.post(bytesOf("payload"));
  ring[10] ^= std::byte{1};
  EXPECT_THAT(nextError(), HasSubstr("has checksum 0x"));
}

TEST_F(Mailbox, HostBelievesOnlyTheHead) {
  guest.post(bytesOf("payload"));
  header.tail = 12345;
  header.ringCapacity = 8;
  header.ordersCapacity = 1;
  header.magic = 0;
  EXPECT_EQ(host.next(), bytesOf("payload"));
  EXPECT_FALSE(host.next());
}

TEST_F(Mailbox, GuestDropsIfTheTailIsImpossible) {
  header.tail = 8;  // before anything was written
  header.ringCapacity = 1 << 30;
  EXPECT_FALSE(guest.post(bytesOf("payload")));
  EXPECT_EQ(guest.dropped(), 1u);
}

TEST_F(Mailbox, GuestRefusesAWrongHeader) {
  const auto refused = [&](auto& field, auto wrong) {
    const auto right = std::exchange(field, wrong);
    EXPECT_THAT(errorOf([&] { GuestMailbox{memory}; }), HasSubstr("mailbox-invalid: magic"));
    field = right;
  };
  refused(header.magic, 0u);
  refused(header.version, 2u);
  refused(header.ordersCapacity, uint64_t{1} << 20);
  refused(header.ordersSize, header.ordersCapacity + 1);
  refused(header.ringCapacity, uint64_t{1} << 20);
  refused(header.ringCapacity, uint64_t{0});
}

TEST_F(Mailbox, RefusesOrdersThatDoNotFit) {
  const size_t capacity = mailboxLayout(size).ordersCapacity;
  EXPECT_NO_THROW(HostMailbox(memory, std::vector<std::byte>(capacity)));
  EXPECT_THAT(errorOf([&] { HostMailbox(memory, std::vector<std::byte>(capacity + 1)); }),
              HasSubstr(text("orders-too-large: ", capacity + 1, " bytes, at most ", capacity)));
}

}  // namespace
}  // namespace ktstr
