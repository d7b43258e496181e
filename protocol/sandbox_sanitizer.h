// What a sandbox has to allow in a build with AddressSanitizer (KTSTR_ADDRESS_SANITIZER), and in no other.
#pragma once

#include "protocol/sandbox.h"

namespace ktstr {

void makeRoomForSanitizer(Sandbox& sandbox);

}  // namespace ktstr
