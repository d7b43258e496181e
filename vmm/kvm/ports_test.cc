#include "vmm/kvm/ports.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <vector>

#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr::vmm {
namespace {

using testing::HasSubstr;

constexpr unsigned lineStatus = 5, interruptEnable = 1;

struct Line {
  std::pair<Fd, Fd> ends = makeSocketPair();
  Fd event{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  SerialPort port{ends.second.get(), event.get()};

  uint64_t interrupts() const {
    uint64_t count = 0;
    return read(event.get(), &count, sizeof count) == sizeof count ? count : 0;
  }
  std::string heard() const {
    setNonBlocking(ends.first.get());
    char bytes[4096];
    const ssize_t got = read(ends.first.get(), bytes, sizeof bytes);
    return got > 0 ? std::string(bytes, static_cast<size_t>(got)) : "";
  }
};

class PortsTest : public testing::Test {
 protected:
  PortEffect out(uint16_t port, std::vector<uint8_t> bytes) { return ports_.write(port, bytes); }
  std::vector<uint8_t> in(uint16_t port, size_t size) {
    std::vector<uint8_t> bytes(size);
    ports_.read(port, bytes);
    return bytes;
  }

  std::vector<uint8_t> load(uint64_t gpa, size_t size) {
    std::vector<uint8_t> bytes(size);
    ports_.memory(gpa, bytes, false);
    return bytes;
  }

  Line console_, doorbell_;
  Ports ports_{console_.port, doorbell_.port};
};

TEST_F(PortsTest, SerialLinesAreToldApart) {
  out(kConsolePort, {'c'});
  out(kDoorbellPort, {'d'});
  EXPECT_EQ(console_.heard(), "c");
  EXPECT_EQ(doorbell_.heard(), "d");
}

TEST_F(PortsTest, WhatIsReceivedInterruptsOncePerRise) {
  out(kDoorbellPort + interruptEnable, {1});
  writeAll(doorbell_.ends.first.get(), std::string_view("ab"));
  doorbell_.port.pump();
  doorbell_.port.pump();
  EXPECT_EQ(doorbell_.interrupts(), 1u);
  EXPECT_EQ(in(kDoorbellPort, 1)[0], 'a');
  EXPECT_EQ(doorbell_.interrupts(), 0u);
  EXPECT_EQ(in(kDoorbellPort, 1)[0], 'b');
  writeAll(doorbell_.ends.first.get(), std::string_view("c"));
  doorbell_.port.pump();
  EXPECT_EQ(doorbell_.interrupts(), 1u);
  EXPECT_EQ(console_.interrupts(), 0u);
}

TEST_F(PortsTest, ALongMessageArrivesWholeWithoutFurtherPumping) {
  const std::string message(1000, 'm');
  writeAll(doorbell_.ends.first.get(), message);
  doorbell_.port.pump();
  std::string got;
  while ((in(kDoorbellPort + lineStatus, 1)[0] & 1) != 0) got += static_cast<char>(in(kDoorbellPort, 1)[0]);
  EXPECT_EQ(got, message);
}

TEST_F(PortsTest, AFifoThatTheGuestClearsIsRefilledAndInterruptsAgain) {
  out(kDoorbellPort + interruptEnable, {1});
  writeAll(doorbell_.ends.first.get(), std::string_view("0123456789abcdefXY"));
  doorbell_.port.pump();
  EXPECT_EQ(doorbell_.interrupts(), 1u);
  out(kDoorbellPort + 2, {3});  // FIFO control: on, cleared
  EXPECT_EQ(doorbell_.interrupts(), 1u);
  EXPECT_EQ(in(kDoorbellPort, 1)[0], 'X');
  EXPECT_EQ(in(kDoorbellPort, 1)[0], 'Y');
  EXPECT_EQ(in(kDoorbellPort + lineStatus, 1)[0] & 1, 0);
}

TEST_F(PortsTest, AFullLineHoldsTheGuestBackAndLosesNothing) {
  size_t sent = 0;
  while ((in(kConsolePort + lineStatus, 1)[0] & 0x20) != 0) {
    out(kConsolePort, {static_cast<uint8_t>(sent % 251)});
    ASSERT_LT(++sent, size_t{10'000'000});
  }
  std::string got;
  while (got.size() < sent) {
    const std::string more = console_.heard();
    if (more.empty()) console_.port.pump();
    got += more;
  }
  for (size_t i = 0; i < sent; ++i) ASSERT_EQ(static_cast<uint8_t>(got[i]), i % 251);
  EXPECT_NE(in(kConsolePort + lineStatus, 1)[0] & 0x20, 0);
}

TEST_F(PortsTest, NobodyListeningIsNoHindrance) {
  console_.ends.first.reset();
  for (int i = 0; i < 100; ++i) out(kConsolePort, {'x'});
  EXPECT_NE(in(kConsolePort + lineStatus, 1)[0] & 0x20, 0);
}

TEST_F(PortsTest, ResetAndPowerOff) {
  EXPECT_EQ(in(kKeyboardCommand, 1)[0], 0);
  EXPECT_EQ(out(kKeyboardCommand, {0xd1}), PortEffect::none);
  EXPECT_EQ(out(kKeyboardCommand, {0xfe}), PortEffect::reset);
  EXPECT_EQ(out(kPowerOffPort, {0, 0x14}), PortEffect::none);
  EXPECT_EQ(out(kPowerOffPort, {0, 0x34}), PortEffect::powerOff);
  EXPECT_EQ(ports_.describeUnknown(), "");
}

TEST_F(PortsTest, WhatIsNotThereReadsAsOnesAndIsCounted) {
  EXPECT_EQ(in(0x70, 4), std::vector<uint8_t>(4, 0xff));
  EXPECT_EQ(out(0x80, {1}), PortEffect::none);
  EXPECT_EQ(in(kConsolePort, 2), std::vector<uint8_t>(2, 0xff)) << "a wide access is none of a 16550's";
  EXPECT_EQ(load(0xfed00000, 8), std::vector<uint8_t>(8, 0xff));
  EXPECT_THAT(ports_.describeUnknown(), HasSubstr("3 accesses to ports without a device (last 0x3f8)"));
  EXPECT_THAT(ports_.describeUnknown(),
              HasSubstr("1 to memory that is not there or read-only (last 0xfed00000)"));
}

TEST_F(PortsTest, ThereIsAnIoApicWhereOneWasAddedInAccessesOf4Bytes) {
  const std::vector<uint8_t> ones(4, 0xff);
  std::vector<uint8_t> version{1, 0, 0, 0};
  ports_.memory(IoApic::kGpa, version, true);
  EXPECT_EQ(load(IoApic::kGpa + 0x10, 4), ones);
  ports_.addIoApic(-1);
  EXPECT_THAT(ports_.describeUnknown(), HasSubstr("2 to memory"));
  ports_.memory(IoApic::kGpa, version, true);
  EXPECT_EQ(load(IoApic::kGpa + 0x10, 4), (std::vector<uint8_t>{0x11, 0, 0x17, 0}));
  EXPECT_THAT(ports_.describeUnknown(), HasSubstr("2 to memory"));
  EXPECT_EQ(load(IoApic::kGpa + 0x10, 1), std::vector<uint8_t>(1, 0xff));
  EXPECT_EQ(load(IoApic::kGpa - 4, 4), ones);
  EXPECT_EQ(load(IoApic::kGpa + 0x1000, 4), ones);
  EXPECT_THAT(ports_.describeUnknown(), HasSubstr("5 to memory"));
}

}  // namespace
}  // namespace ktstr::vmm
