// What the record keeps of the guest's events.
#pragma once

#include <span>
#include <string>

#include "protocol/record.capnp.h"
#include "protocol/report.capnp.h"

namespace ktstr {

// Fills guest, schedulerOps (of the first that attached), schedulers, payloads and workers. `underTest`: name
// of the scheduler under test.
void fillGuest(std::span<const rpc::GuestEvent::Reader> events, const std::string& underTest,
               rpc::RunRecord::Builder record);

}  // namespace ktstr
