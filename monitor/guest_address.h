// Addresses in a guest's kernel as people write them.
#pragma once

#include <string>

#include "monitor/kernel.h"

namespace ktstr {

// 0xHEX, a symbol, or SYMBOL@CPU for that CPU's copy of a per-CPU variable; after a * where the pointer there
// leads. Throws Error "address-invalid", "symbol-unknown" (usage), "not-in-memory" (inconclusive).
uint64_t guestAddress(const GuestKernel& kernel, const std::string& words);

}  // namespace ktstr
