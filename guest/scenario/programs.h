// The programs that a scenario brings into the guest.
#pragma once

#include <string>
#include <vector>

#include "protocol/scenario.capnp.h"

namespace ktstr {

// Where a program is in the guest: /ktstr/bin/ and its base name. Two that would be at the same place are
// refused when the image is made.
std::string guestProgram(const std::string& binary);

// Every payload's binary, in the order of use, each once.
std::vector<std::string> payloadBinaries(rpc::Scenario::Reader scenario);

}  // namespace ktstr
