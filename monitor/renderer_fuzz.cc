// The input is the types of a BTF and the bytes of a value: two bytes for the types' length, the types, the
// value. Header and strings are fixed. Every type is rendered, and every path of two names is tried.
#include <bpf/btf.h>

#include <cstring>

#include "monitor/crafted_kernel.h"
#include "monitor/renderer.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr;
  if (size < 2) return 0;
  static constexpr char strings[] = "\0a\0b\0char\0.bss";
  static test::CraftedKernel guest(1 << 16);
  const size_t rest = size - 2;
  const auto typeBytes =
      static_cast<uint32_t>(std::min(size_t{data[0]} | size_t{data[1]} << 8, rest) & ~size_t{3});
  std::vector<std::byte> bytes(sizeof(btf_header) + typeBytes + sizeof strings);
  btf_header header{};
  header.magic = BTF_MAGIC;
  header.version = BTF_VERSION;
  header.hdr_len = sizeof header;
  header.type_len = header.str_off = typeBytes;
  header.str_len = sizeof strings;
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, data + 2, typeBytes);
  std::memcpy(bytes.data() + sizeof header + typeBytes, strings, sizeof strings);
  std::memcpy(guest.ram().data(), data, std::min(size, guest.ram().size()));
  try {
    const BtfTypes types(bytes);
    const std::span value(reinterpret_cast<const std::byte*>(data) + 2 + typeBytes, rest - typeBytes);
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
