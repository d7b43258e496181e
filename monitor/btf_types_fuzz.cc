// The input is the types of a BTF: two bytes for their length, and the types. Header and strings are fixed.
#include <bpf/btf.h>

#include <cstring>

#include "monitor/kernel_layout.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static constexpr char strings[] =
      "\0rq\0nr_running\0clock\0curr\0scx\0local_dsq\0nr\0scx_enable_state\0SCX_ENABLED";
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
  try {
    ktstr::KernelLayout::fromBtf(ktstr::BtfTypes(bytes));
  } catch (const ktstr::Error&) {
  }
  return 0;
}
