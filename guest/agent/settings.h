// What the orders make of the guest before the scheduler starts. Throws Failure settingRefused with path and
// errno, or with what a sysctl reads back as.
#pragma once

#include "protocol/report.capnp.h"

namespace ktstr::agent {

// Sysctls, then files, then the switches of a scheduler inside the kernel.
void applySettings(rpc::GuestOrders::Reader orders);
// At the end: the switches that disable it.
void undoSettings(rpc::GuestOrders::Reader orders);

}  // namespace ktstr::agent
