// The input is the types of a BTF: two bytes for their length, and the types. Header and strings are fixed.
#include "monitor/fuzz_btf.h"
#include "monitor/kernel_layout.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static constexpr char strings[] =
      "\0rq\0nr_running\0clock\0curr\0scx\0local_dsq\0nr\0scx_enable_state\0SCX_ENABLED";
  try {
    ktstr::KernelLayout::fromBtf(ktstr::BtfTypes(ktstr::test::fuzzedBtf({data, size}, strings)));
  } catch (const ktstr::Error&) {
  }
  return 0;
}
