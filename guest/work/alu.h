// Arithmetic without memory or system calls: eight independent chains x = x * m + c, as many as keep the
// units of a core busy: at least two instructions per cycle.
#pragma once

#include <cstdint>

#include "protocol/work_type.capnp.h"

namespace ktstr::work {

// Chains of multiplications of some width, and their name: "scalar", "vec128", "vec256", "vec512", "amx".
struct Multiplier {
  const char* name;
  void (*run)(uint64_t steps);
};

// The one asked for, or the widest below it that this CPU has. Amx only where it is asked for and the kernel
// lets this process use it.
Multiplier multiplier(rpc::AluWidth width);

}  // namespace ktstr::work
