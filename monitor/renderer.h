// Any value of a type known by BTF, as a tree to print: structs and unions with all members (anonymous ones'
// among the others), bit fields, enums by name, arrays, the variables of a section, characters as text.
//
// Pointers are shown as addresses, those into the kernel image with their symbol, others with their name if
// they have one. As many hops as wanted, one to a struct or union is followed instead: an object whose first
// member "@" is the address. None is followed to where this path already was.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>

#include "monitor/arena_view.h"
#include "monitor/kernel.h"
#include "monitor/type_path.h"
#include "monitor/value.h"

namespace ktstr {

struct RenderLimits {
  unsigned hops = 0;        // pointers into the kernel that are followed one behind another
  unsigned arenaHops = 0;   // pointers into an arena
  uint32_t elements = 256;  // shown of each array
  uint32_t values = 100'000;
  unsigned depth = 32;  // of structs and arrays in each other
  size_t followedBytes = 4 << 20;
};

// What is where no symbol of the kernel is, by address.
using PlaceNames = std::map<uint64_t, std::string>;

class Renderer {
 public:
  // All must outlive this object.
  Renderer(const BtfTypes& types, const GuestKernel& kernel, RenderLimits limits = {},
           const PlaceNames* names = nullptr, const ArenaView* arena = nullptr)
      : types_(types), kernel_(kernel), limits_(limits), left_(limits), names_(names), arena_(arena) {}

  // `bytes` begin with the outermost value, of which `place` is a part. Never throws because of what they or
  // the types are; what cannot be shown is absent with a reason. The limits hold for one call.
  Value render(const TypePlace& place, std::span<const std::byte> bytes);

 private:
  using Bytes = std::span<const std::byte>;
  Value value(uint32_t typeId, Bytes bytes, unsigned depth);
  Value number(const btf_type* type, Bytes bytes);
  Value enumerator(const btf_type* type, Bytes bytes);
  Value pointer(const btf_type* type, Bytes bytes, unsigned depth);
  Value array(const btf_type* type, Bytes bytes, unsigned depth);
  Value section(const btf_type* type, Bytes bytes, unsigned depth);
  void members(const btf_type* type, Bytes bytes, unsigned depth, Value& out);
  Value bitField(uint32_t typeId, uint64_t bitOffset, uint32_t bits, Bytes bytes);
  Value part(uint32_t typeId, uint64_t offset, Bytes whole, unsigned depth);
  std::string name(uint32_t offset) const;
  std::optional<std::string> nameAt(uint64_t address) const;
  bool spend();  // one value; false if none is left

  const BtfTypes& types_;
  const GuestKernel& kernel_;
  RenderLimits limits_, left_;
  const PlaceNames* names_;
  const ArenaView* arena_;
  std::vector<uint64_t> above_;  // addresses of the values that this one was reached through
};

}  // namespace ktstr
