// Members of the kernel's structs, read by name. What this kernel does not have, or what cannot be read, is
// nothing.
#pragma once

#include <algorithm>
#include <string>

#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"

namespace ktstr {

// Printable ASCII stays, anything else becomes '?'.
inline std::string printable(std::string words) {
  for (char& c : words) c = c < ' ' || c > '~' ? '?' : c;
  return words;
}

class KernelFields {
 public:
  // Both must outlive this object.
  KernelFields(const GuestKernel& kernel, const KernelLayout& layout) : kernel_(kernel), layout_(layout) {}

  // A member of the struct at `address`, if it has the size of T: "scx_sched.exit_info".
  template <typename T>
  std::optional<T> get(uint64_t address, std::string_view member) const {
    const auto field = layout_.member(member);
    return field && field->size == sizeof(T) ? kernel_.read<T>(address + field->offset) : std::nullopt;
  }
  // Where it is.
  std::optional<uint64_t> at(uint64_t address, std::string_view member) const {
    const auto field = layout_.member(member);
    return field ? std::optional(address + field->offset) : std::nullopt;
  }
  // Characters that it holds, printable; empty if they cannot be read.
  std::string chars(uint64_t address, std::string_view member) const {
    const auto field = layout_.member(member);
    if (!field) return {};
    return printable(
        kernel_.string(address + field->offset, std::min<size_t>(field->size, 256)).value_or(""));
  }

  const GuestKernel& kernel() const { return kernel_; }
  const KernelLayout& layout() const { return layout_; }

 private:
  const GuestKernel& kernel_;
  const KernelLayout& layout_;
};

// How long a tick is: TICK_NSEC, as the jiffies clock source has it in mult, which is TICK_NSEC << shift
// (kernel/time/jiffies.c).
inline std::optional<double> jiffyMs(const KernelFields& fields) {
  const auto source = fields.kernel().symbol("clocksource_jiffies");
  const auto mult = source ? fields.get<uint32_t>(*source, "clocksource.mult") : std::nullopt,
             shift = source ? fields.get<uint32_t>(*source, "clocksource.shift") : std::nullopt;
  if (!mult || !shift || *shift > 31 || *mult >> *shift == 0) return std::nullopt;
  return (*mult >> *shift) / 1e6;
}

}  // namespace ktstr
