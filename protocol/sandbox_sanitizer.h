// What a sandbox has to allow in a build with AddressSanitizer, and in no other.
#pragma once

#include "protocol/sandbox.h"

#if defined(__has_feature)
#define KTSTR_HAS_FEATURE(x) __has_feature(x)
#else
#define KTSTR_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || KTSTR_HAS_FEATURE(address_sanitizer)
#define KTSTR_ADDRESS_SANITIZER 1
#endif

namespace ktstr {

// `threads`: some will be made under the sandbox, or it is that of one.
#ifdef KTSTR_ADDRESS_SANITIZER
void makeRoomForSanitizer(Sandbox& sandbox, bool threads);
#else
inline void makeRoomForSanitizer(Sandbox&, bool) {}
#endif

}  // namespace ktstr
