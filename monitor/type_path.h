// Paths into a type: "member.member[3].member", through structs, unions, arrays and the variables of a
// section
// (.bss, .data, .rodata), not through pointers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "monitor/btf_types.h"

namespace ktstr {

struct TypePlace {
  uint32_t typeId = 0;
  uint64_t offset = 0;     // bytes from the beginning of the outermost type
  uint32_t bitOffset = 0;  // of a bit field, in bits from `offset`
  uint32_t bits = 0;       // 0: no bit field
};

// The type of this name: "struct rq", "rq", "unsigned int" or "pid_t". Throws Error "type-unknown" (usage).
uint32_t findType(const BtfTypes& types, std::string_view name);

// Where `path` leads; "" is the type itself. Throws Error "path-invalid" (usage), which names the component
// and what there is instead.
TypePlace resolvePath(const BtfTypes& types, uint32_t typeId, std::string_view path);

// Bytes of a type, at most 1 MiB; nothing if it has no size.
std::optional<uint32_t> typeSize(const BtfTypes& types, uint32_t typeId);

// Name of a type as C has it, without what is inside: "struct rq", "u64", "char[16]".
std::string typeName(const BtfTypes& types, uint32_t typeId);

}  // namespace ktstr
