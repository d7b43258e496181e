#include "vmm/kvm/uart.h"

#include <gtest/gtest.h>

namespace ktstr::vmm {
namespace {

// Registers by the names of the data sheet.
constexpr unsigned rbr = 0, thr = 0, ier = 1, iir = 2, fcr = 2, lcr = 3, mcr = 4, lsr = 5, msr = 6, scr = 7;
constexpr uint8_t none = 1, empty = 2, received = 4;

TEST(Uart, SendsWhatIsWrittenAndIsReadyAtOnce) {
  Uart uart;
  EXPECT_EQ(uart.read(lsr), 0x60);
  EXPECT_EQ(uart.write(thr, 'a'), 'a');
  EXPECT_EQ(uart.read(lsr), 0x60);
}

TEST(Uart, DivisorHidesTheDataRegisters) {
  Uart uart;
  uart.write(lcr, 0x83);
  EXPECT_EQ(uart.write(thr, 12), std::nullopt);
  EXPECT_EQ(uart.write(ier, 1), std::nullopt);
  EXPECT_EQ(uart.read(rbr), 12);
  EXPECT_EQ(uart.read(ier), 1);
  uart.write(lcr, 3);
  EXPECT_EQ(uart.read(ier), 0);
  EXPECT_EQ(uart.write(thr, 'a'), 'a');
}

// What drivers/tty/serial/8250 looks at to tell a 16550A from its ancestors.
TEST(Uart, IsFoundByADriver) {
  Uart uart;
  uart.write(ier, 0xff);
  EXPECT_EQ(uart.read(ier), 0x0f);
  uart.write(ier, 0);
  uart.write(scr, 0xa5);
  EXPECT_EQ(uart.read(scr), 0xa5);
  uart.write(mcr, 0x1a);  // loopback with OUT2 and RTS
  EXPECT_EQ(uart.read(msr) & 0xf0, 0x90);
  uart.write(mcr, 0);
  EXPECT_EQ(uart.read(iir) & 0xc0, 0);
  uart.write(fcr, 1);
  EXPECT_EQ(uart.read(iir) & 0xc0, 0xc0);
}

TEST(Uart, ReceivesInOrderUpToItsFifo) {
  Uart uart;
  for (unsigned round = 0; round < 3; ++round) {
    for (uint8_t i = 0; i < Uart::kFifo; ++i) {
      ASSERT_TRUE(uart.canReceive());
      uart.receive(i);
    }
    EXPECT_FALSE(uart.canReceive());
    for (uint8_t i = 0; i < Uart::kFifo; ++i) {
      EXPECT_EQ(uart.read(lsr) & 1, 1);
      EXPECT_EQ(uart.read(rbr), i);
    }
    EXPECT_EQ(uart.read(lsr) & 1, 0);
    EXPECT_EQ(uart.read(rbr), 0);
  }
}

TEST(Uart, InterruptsForWhatIsReceivedUntilItIsRead) {
  Uart uart;
  uart.receive('x');
  EXPECT_FALSE(uart.interrupt());
  uart.write(ier, 1);
  EXPECT_TRUE(uart.interrupt());
  EXPECT_EQ(uart.read(iir), received);
  EXPECT_TRUE(uart.interrupt());
  uart.read(rbr);
  EXPECT_FALSE(uart.interrupt());
  EXPECT_EQ(uart.read(iir), none);
}

TEST(Uart, InterruptsForAnEmptyTransmitterUntilItIsIdentified) {
  Uart uart;
  uart.write(ier, 2);
  EXPECT_TRUE(uart.interrupt());
  EXPECT_EQ(uart.read(iir), empty);
  EXPECT_FALSE(uart.interrupt());
  uart.write(thr, 'a');
  EXPECT_EQ(uart.read(iir), empty);
  uart.write(ier, 0);
  uart.write(ier, 2);
  EXPECT_EQ(uart.read(iir), empty) << "enabling it again raises it";
}

TEST(Uart, ReceivedComesBeforeEmpty) {
  Uart uart;
  uart.write(ier, 3);
  uart.receive('x');
  EXPECT_EQ(uart.read(iir), received);
  uart.read(rbr);
  EXPECT_EQ(uart.read(iir), empty);
}

TEST(Uart, IsNotEmptyWhileTheLineIsBusy) {
  Uart uart;
  uart.write(ier, 2);
  uart.read(iir);
  uart.write(thr, 'a');
  uart.setLineBusy(true);
  EXPECT_EQ(uart.read(lsr) & 0x60, 0);
  EXPECT_FALSE(uart.interrupt());
  uart.setLineBusy(false);
  EXPECT_EQ(uart.read(lsr) & 0x60, 0x60);
  EXPECT_TRUE(uart.interrupt());
}

TEST(Uart, LoopbackComesBackAndClearingEmptiesTheFifo) {
  Uart uart;
  uart.write(mcr, 0x10);
  EXPECT_EQ(uart.write(thr, 'a'), std::nullopt);
  EXPECT_EQ(uart.read(rbr), 'a');
  uart.receive('b');
  uart.write(fcr, 2);
  EXPECT_EQ(uart.read(lsr) & 1, 0);
}

}  // namespace
}  // namespace ktstr::vmm
