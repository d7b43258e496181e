#include "monitor/type_path.h"

#include <bpf/btf.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr int64_t maxTypeBytes = 1 << 20;
constexpr unsigned maxNameDepth = 16, maxAlternatives = 40;
constexpr size_t maxNameBytes = 256;

// Of a type or member; printable ASCII.
std::string nameAt(const BtfTypes& types, uint32_t offset) {
  const char* const found = btf__name_by_offset(types.raw(), offset);
  std::string name = found ? std::string(found, strnlen(found, maxNameBytes)) : "";
  for (char& c : name) c = c < ' ' || c > '~' ? '?' : c;
  return name;
}

[[noreturn]] void refuse(const std::string& why, const std::string& hint) {
  throw Error(ExitCode::usage, "path-invalid", why, hint);
}

// The variables or members to choose from.
std::string alternatives(const BtfTypes& types, const btf_type* type) {
  std::string list;
  const uint32_t count = type ? std::min<uint32_t>(btf_vlen(type), maxAlternatives) : 0;
  for (uint32_t i = 0; i < count; ++i) {
    std::string name;
    if (btf_is_composite(type)) name = nameAt(types, btf_members(type)[i].name_off);
    if (btf_is_datasec(type)) {
      const btf_type* const variable = btf__type_by_id(types.raw(), btf_var_secinfos(type)[i].type);
      if (variable) name = nameAt(types, variable->name_off);
    }
    if (!name.empty()) list += (list.empty() ? "" : ", ") + name;
  }
  return list.empty() ? "it has no members" : "it has " + list;
}

std::optional<TypePlace> variable(const BtfTypes& types, const btf_type* section, std::string_view name) {
  for (uint32_t i = 0; i < btf_vlen(section); ++i) {
    const auto& info = btf_var_secinfos(section)[i];
    const btf_type* const type = btf__type_by_id(types.raw(), info.type);
    if (type && btf_is_var(type) && nameAt(types, type->name_off) == name)
      return TypePlace{type->type, info.offset, 0, 0};
  }
  return std::nullopt;
}

void stepInto(const BtfTypes& types, TypePlace& place, std::string_view name) {
  const btf_type* const type = types.strip(place.typeId);
  if (name.empty()) refuse("an empty name in the path", alternatives(types, type));
  std::optional<TypePlace> next;
  if (type && btf_is_datasec(type)) next = variable(types, type, name);
  if (type && btf_is_composite(type)) {
    if (const auto found = types.memberOf(place.typeId, name))
      next = TypePlace{found->typeId, found->bits ? found->bitOffset / 64 * 8 : found->bitOffset / 8,
                       found->bits ? static_cast<uint32_t>(found->bitOffset % 64) : 0, found->bits};
  }
  if (!next) refuse(text(typeName(types, place.typeId), " has no member ", name), alternatives(types, type));
  next->offset += place.offset;
  place = *next;
}

void stepToElement(const BtfTypes& types, TypePlace& place, std::string_view digits) {
  const btf_type* const type = types.strip(place.typeId);
  uint32_t index = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error != std::errc() || end != digits.data() + digits.size())
    refuse(text("[", digits, "] is no index"), "write a decimal number");
  if (!type || !btf_is_array(type))
    refuse(text(typeName(types, place.typeId), " is no array"), "leave out the index");
  const auto* const array = btf_array(type);
  const auto size = typeSize(types, array->type);
  if (index >= array->nelems || !size)
    refuse(text("there is no element ", index), text("there are ", array->nelems));
  place = {array->type, place.offset + uint64_t{index} * *size, 0, 0};
}

}  // namespace

uint32_t findType(const BtfTypes& types, std::string_view name) {
  for (const std::string_view keyword : {"struct ", "union ", "enum "}) {
    if (name.starts_with(keyword)) name.remove_prefix(keyword.size());
  }
  const auto ids = types.named(std::string(name));
  if (!ids.empty()) return ids.front();
  const int id = btf__find_by_name(types.raw(), std::string(name).c_str());
  if (id <= 0) {
    throw Error(ExitCode::usage, "type-unknown", text("the kernel has no type ", name),
                "names are as in C: rq, task_struct, pid_t, \"unsigned int\"");
  }
  return static_cast<uint32_t>(id);
}

TypePlace resolvePath(const BtfTypes& types, uint32_t typeId, std::string_view path) {
  TypePlace place{typeId, 0, 0, 0};
  bool first = true;
  while (!path.empty()) {
    if (path.front() == '[') {
      const auto close = path.find(']');
      if (close == std::string_view::npos) refuse("a [ without ]", "write member[3]");
      stepToElement(types, place, path.substr(1, close - 1));
      path.remove_prefix(close + 1);
    } else {
      if (!first && path.front() == '.') path.remove_prefix(1);
      const auto name = path.substr(0, path.find_first_of(".["));
      stepInto(types, place, name);
      path.remove_prefix(name.size());
    }
    first = false;
  }
  return place;
}

std::optional<uint32_t> typeSize(const BtfTypes& types, uint32_t typeId) {
  const int64_t size = btf__resolve_size(types.raw(), typeId);
  if (size < 0 || size > maxTypeBytes) return std::nullopt;
  return static_cast<uint32_t>(size);
}

std::string typeName(const BtfTypes& types, uint32_t typeId) {
  std::string suffix;
  for (unsigned depth = 0; depth < maxNameDepth; ++depth) {
    const btf_type* const type = btf__type_by_id(types.raw(), typeId);
    if (!type) break;
    const std::string name = nameAt(types, type->name_off);
    if (btf_is_struct(type)) return text("struct ", name, suffix);
    if (btf_is_union(type)) return text("union ", name, suffix);
    if (btf_is_any_enum(type)) return text("enum ", name, suffix);
    if (btf_is_func_proto(type)) return "function" + suffix;
    if (btf_is_fwd(type)) return text("struct ", name, suffix);
    if (btf_is_array(type)) {
      suffix += text("[", btf_array(type)->nelems, "]");
      typeId = btf_array(type)->type;
      continue;
    }
    if (!name.empty()) return name + suffix;
    if (btf_is_ptr(type)) suffix.insert(0, " *");
    typeId = type->type;
  }
  return "void" + suffix;
}

}  // namespace ktstr
