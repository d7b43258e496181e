// The input is the types of a BTF and the bytes of a value: two bytes for the types' length, the types, the
// value. Header and strings are fixed. Every type is rendered, and every path of two names is tried.
#include <bpf/btf.h>

#include <cstring>

#include "monitor/crafted_kernel.h"
#include "monitor/fuzz_btf.h"
#include "monitor/renderer.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr;
  if (size < 2) return 0;
  static constexpr char strings[] = "\0a\0b\0char\0.bss";
  static test::CraftedKernel guest(1 << 16);
  const std::span input(data, size);
  std::memcpy(guest.ram().data(), data, std::min(size, guest.ram().size()));
  try {
    const BtfTypes types(test::fuzzedBtf(input, strings));
    const auto value = std::as_bytes(input.subspan(2 + test::fuzzedTypeBytes(input)));
    Renderer renderer(types, guest.kernel(), {.hops = 3, .values = 2000});
    for (uint32_t id = 1; id < std::min<uint32_t>(btf__type_cnt(types.raw()), 16); ++id) {
      valueAsJson(renderer.render({id, 0, 0, 0}, value));
      typeName(types, id);
      for (const auto* path : {"a.b", "a[1]", "b"}) {
        try {
          valueAsText(renderer.render(resolvePath(types, id, path), value));
        } catch (const Error&) {
        }
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
