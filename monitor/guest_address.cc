#include "monitor/guest_address.h"

#include <charconv>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

uint64_t symbolAddress(const GuestKernel& kernel, const std::string& name) {
  const auto address = kernel.symbol(name);
  if (!address)
    throw Error(ExitCode::usage, "symbol-unknown", text("the kernel has no symbol ", name),
                "its static functions and variables are known, too");
  return *address;
}

uint64_t perCpuAddress(const GuestKernel& kernel, const std::string& name, std::string_view digits) {
  const uint64_t variable = symbolAddress(kernel, name);
  uint32_t cpu = 0;
  const auto end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, cpu);
  if (error != std::errc() || at != end)
    throw Error(ExitCode::usage, "address-invalid", text(digits, " is no number of a CPU"),
                "as in runqueues@2");
  const auto address = kernel.perCpu(variable, cpu);
  if (!address)
    throw Error(ExitCode::inconclusive, "not-in-memory", text("CPU ", cpu, " has no per-CPU variables"),
                "it may not be there, or not be up yet");
  return *address;
}

}  // namespace

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
  const auto sign = words.find('@');
  if (sign == std::string::npos) return symbolAddress(kernel, words);
  return perCpuAddress(kernel, words.substr(0, sign), std::string_view(words).substr(sign + 1));
}

}  // namespace ktstr
