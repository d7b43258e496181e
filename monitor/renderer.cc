#include "monitor/renderer.h"

#include <bpf/btf.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxNameBytes = 128;
constexpr uint32_t maxEnumerators = 4096;

// Little endian, up to eight bytes.
uint64_t load(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data(), std::min<size_t>(bytes.size(), sizeof value));
  return value;
}

uint64_t extend(uint64_t value, unsigned bits) {
  if (bits == 0 || bits >= 64) return value;
  return static_cast<uint64_t>(static_cast<int64_t>(value << (64 - bits)) >> (64 - bits));
}

// Characters up to NUL, if they are all printable.
std::optional<std::string> asText(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    const auto c = static_cast<unsigned char>(byte);
    if (c == 0) return text;
    if ((c < ' ' && c != '\n' && c != '\t') || c > '~') return std::nullopt;
    text += static_cast<char>(c);
  }
  return text;
}

std::string asHex(std::span<const std::byte> bytes) {
  std::string digits = "0x";
  for (size_t i = bytes.size(); i-- > 0;) {
    constexpr char digit[] = "0123456789abcdef";
    digits += {digit[static_cast<unsigned>(bytes[i]) >> 4], digit[static_cast<unsigned>(bytes[i]) & 15]};
  }
  return digits;
}

Value numberOf(uint64_t value, bool isSigned) {
  return {isSigned ? Value::Kind::signedNumber : Value::Kind::unsignedNumber, {}, value};
}

}  // namespace

std::string Renderer::name(uint32_t offset) const {
  const char* const found = btf__name_by_offset(types_.raw(), offset);
  return found ? std::string(found, strnlen(found, maxNameBytes)) : "";
}

std::optional<std::string> Renderer::nameAt(uint64_t address) const {
  if (names_) {
    if (const auto own = names_->find(address); own != names_->end()) return own->second;
  }
  return kernel_.symbolAt(address);
}

bool Renderer::spend() {
  return left_.values != 0 && --left_.values != 0;
}

Value Renderer::render(const TypePlace& place, Bytes bytes) {
  left_ = limits_;
  above_.clear();
  if (place.bits != 0) return bitField(place.typeId, place.offset * 8 + place.bitOffset, place.bits, bytes);
  return part(place.typeId, place.offset, bytes, 0);
}

Value Renderer::part(uint32_t typeId, uint64_t offset, Bytes whole, unsigned depth) {
  const btf_type* const type = types_.strip(typeId);
  const auto size = type && btf_is_datasec(type) ? std::optional(type->size) : typeSize(types_, typeId);
  if (!size) return Value::absent("its type has no size");
  if (offset > whole.size() || *size > whole.size() - offset)
    return Value::absent("beyond the end of the value");
  return value(typeId, whole.subspan(offset, *size), depth);
}

Value Renderer::value(uint32_t typeId, Bytes bytes, unsigned depth) {
  const btf_type* const type = types_.strip(typeId);
  if (!type) return Value::absent("its type is not known");
  if (depth > limits_.depth) return Value::absent("too deep");
  if (!spend()) return Value::absent("too many values");
  if (btf_is_int(type)) return number(type, bytes);
  if (btf_is_any_enum(type)) return enumerator(type, bytes);
  if (btf_is_ptr(type)) return pointer(type, bytes, depth);
  if (btf_is_array(type)) return array(type, bytes, depth);
  if (btf_is_datasec(type)) return section(type, bytes, depth);
  if (btf_is_float(type) && bytes.size() == 8)
    return {Value::Kind::real, {}, 0, std::bit_cast<double>(load(bytes))};
  if (btf_is_float(type) && bytes.size() == 4)
    return {Value::Kind::real, {}, 0, std::bit_cast<float>(static_cast<uint32_t>(load(bytes)))};
  if (!btf_is_composite(type)) return Value::absent("values of its type cannot be shown");
  Value out = Value::object();
  members(type, bytes, depth, out);
  return out;
}

Value Renderer::number(const btf_type* type, Bytes bytes) {
  const auto encoding = btf_int_encoding(type);
  if (bytes.size() > 8) return Value::named(asHex(bytes));
  if (encoding & BTF_INT_BOOL) return Value::of(load(bytes) != 0);
  const bool isSigned = encoding & BTF_INT_SIGNED;
  return numberOf(isSigned ? extend(load(bytes), static_cast<unsigned>(bytes.size()) * 8) : load(bytes),
                  isSigned);
}

Value Renderer::enumerator(const btf_type* type, Bytes bytes) {
  const auto bits = static_cast<unsigned>(std::min<size_t>(bytes.size(), 8)) * 8;
  const uint64_t value = extend(load(bytes), bits);
  for (uint32_t i = 0; i < std::min<uint32_t>(btf_vlen(type), maxEnumerators); ++i) {
    const bool wide = btf_is_enum64(type);
    const uint64_t own =
        wide ? btf_enum64_value(&btf_enum64(type)[i]) : static_cast<uint64_t>(int64_t{btf_enum(type)[i].val});
    if (own == value)
      return Value::named(name(wide ? btf_enum64(type)[i].name_off : btf_enum(type)[i].name_off));
  }
  return btf_kflag(type) ? numberOf(value, true) : numberOf(load(bytes), false);
}

Value Renderer::pointer(const btf_type* type, Bytes bytes, unsigned depth) {
  const uint64_t address = load(bytes);
  if (address == 0) return {Value::Kind::null};
  const auto symbol = nameAt(address);
  const std::string shown = symbol ? text(hex(address), " ", *symbol) : hex(address);
  const btf_type* const target = types_.strip(type->type);
  const auto size = typeSize(types_, type->type);
  const bool isInArena = arena_ && arena_->holds(address);
  unsigned& hops = isInArena ? left_.arenaHops : left_.hops;
  if (hops == 0 || !target || !btf_is_composite(target) || !size || *size == 0) return Value::named(shown);
  if (std::find(above_.begin(), above_.end(), address) != above_.end())
    return Value::named(shown + " (above)");
  if (*size > left_.followedBytes) return Value::named(shown + " (too much to follow)");
  std::vector<std::byte> copy(*size);
  left_.followedBytes -= *size;
  if (isInArena ? !arena_->copy(address, copy) : !kernel_.copy(address, copy))
    return Value::named(shown + " (not in memory)");
  Value out = Value::object();
  out.add("@", Value::named(shown));
  --hops;
  above_.push_back(address);
  members(target, copy, depth + 1, out);
  above_.pop_back();
  ++hops;
  return out;
}

Value Renderer::array(const btf_type* type, Bytes bytes, unsigned depth) {
  const auto* const array = btf_array(type);
  const btf_type* const element = types_.strip(array->type);
  const auto size = typeSize(types_, array->type);
  if (!element || !size || *size == 0) return Value::absent("its elements have no size");
  const bool isByte = btf_is_int(element) && *size == 1;
  const bool isChar = isByte && name(element->name_off) == "char";
  if (const auto characters = isChar ? asText(bytes) : std::nullopt) return Value::named(*characters);
  Value out = Value::list();
  const size_t count = std::min<size_t>(array->nelems, bytes.size() / *size);
  for (size_t i = 0; i < count; ++i) {
    if (i == limits_.elements || left_.values == 0) {
      out.add({}, Value::absent(text(count - i, " more elements")));
      break;
    }
    out.add({}, value(array->type, bytes.subspan(i * *size, *size), depth + 1));
  }
  return out;
}

Value Renderer::section(const btf_type* type, Bytes bytes, unsigned depth) {
  Value out = Value::object();
  for (uint32_t i = 0; i < btf_vlen(type); ++i) {
    if (!spend()) return out.add("...", Value::absent("too many values"));
    const auto& info = btf_var_secinfos(type)[i];
    const btf_type* const variable = btf__type_by_id(types_.raw(), info.type);
    if (!variable || !btf_is_var(variable)) continue;
    out.add(name(variable->name_off), part(variable->type, info.offset, bytes, depth + 1));
  }
  return out;
}

void Renderer::members(const btf_type* type, Bytes bytes, unsigned depth, Value& out) {
  if (depth > limits_.depth) {
    out.add("...", Value::absent("too deep"));
    return;
  }
  for (uint32_t i = 0; i < btf_vlen(type); ++i) {
    if (!spend()) return void(out.add("...", Value::absent("too many values")));
    const auto& member = btf_members(type)[i];
    const uint32_t bitOffset = btf_member_bit_offset(type, i), bits = btf_member_bitfield_size(type, i);
    const std::string own = name(member.name_off);
    const btf_type* const inner = types_.strip(member.type);
    const size_t offset = bitOffset / 8;
    if (own.empty() && inner && btf_is_composite(inner) && offset + inner->size <= bytes.size()) {
      members(inner, bytes.subspan(offset, inner->size), depth + 1, out);
    } else if (!own.empty()) {
      out.add(own, bits ? bitField(member.type, bitOffset, bits, bytes)
                        : part(member.type, offset, bytes, depth + 1));
    }
  }
}

Value Renderer::bitField(uint32_t typeId, uint64_t bitOffset, uint32_t bits, Bytes bytes) {
  const btf_type* const type = types_.strip(typeId);
  const uint64_t first = bitOffset / 8, shift = bitOffset % 8, size = (shift + bits + 7) / 8;
  if (!type || bits == 0 || bits > 64 || size > 8 || first > bytes.size() || size > bytes.size() - first)
    return Value::absent("a bit field beyond the end of the value");
  const uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
  const uint64_t raw = load(bytes.subspan(first, size)) >> shift & mask;
  if (btf_is_int(type) && (btf_int_encoding(type) & BTF_INT_BOOL)) return Value::of(raw != 0);
  if (btf_is_int(type) && (btf_int_encoding(type) & BTF_INT_SIGNED)) return numberOf(extend(raw, bits), true);
  if (btf_is_any_enum(type)) return enumerator(type, std::as_bytes(std::span(&raw, 1)));
  return numberOf(raw, false);
}

}  // namespace ktstr
