#include "monitor/guest_address.h"

#include <charconv>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

uint64_t guestAddress(const GuestKernel& kernel, const std::string& words) {
  if (words.starts_with("0x")) {
    uint64_t value = 0;
    const auto end = words.data() + words.size();
    if (const auto [at, error] = std::from_chars(words.data() + 2, end, value, 16);
        error == std::errc() && at == end)
      return value;
    throw Error(ExitCode::usage, "address-invalid", text(words, " is no address"), "write 0x and hex digits");
  }
  if (words.starts_with('*')) {
    const uint64_t pointer = guestAddress(kernel, words.substr(1));
    if (const auto target = kernel.read<uint64_t>(pointer)) return *target;
    throw Error(ExitCode::inconclusive, "not-in-memory", text(hex(pointer), " is not in guest memory"));
  }
  const auto address = kernel.symbol(words);
  if (!address)
    throw Error(ExitCode::usage, "symbol-unknown", text("the kernel has no symbol ", words),
                "its static functions and variables are known, too");
  return *address;
}

}  // namespace ktstr
