#include "monitor/map_write.h"

#include <bpf/btf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <charconv>

#include "monitor/bpf_values.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t pageBytes = 4096;
constexpr uint32_t untypedBytes = 4;

[[noreturn]] void refuse(const char* name, const std::string& why, const std::string& hint) {
  throw Error(ExitCode::usage, name, why, hint);
}

// Two's complement, and whether it was written with a minus.
struct Number {
  uint64_t value;
  bool negative;
};

std::optional<Number> parseNumber(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const bool isHex = text.starts_with("0x");
  if (isHex) text.remove_prefix(2);
  uint64_t value = 0;
  const auto end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value, isHex ? 16 : 10);
  if (error != std::errc() || at != end || (negative && value > uint64_t{1} << 63)) return std::nullopt;
  return Number{negative ? ~value + 1 : value, negative && value != 0};
}

bool fits(Number number, uint32_t bytes, bool isSigned) {
  const unsigned bits = bytes * 8;
  if (number.negative)
    return isSigned && static_cast<int64_t>(number.value) >= -(int64_t{1} << (bits - 2)) * 2;
  const unsigned positive = isSigned ? bits - 1 : bits;
  return positive == 64 || number.value < uint64_t{1} << positive;
}

bool fitsEither(Number number, uint32_t bytes) {
  return fits(number, bytes, true) || fits(number, bytes, false);
}

std::vector<std::byte> littleEndian(uint64_t value, uint32_t bytes) {
  const auto all = std::as_bytes(std::span(&value, 1));
  return {all.begin(), all.begin() + bytes};
}

std::optional<uint64_t> enumerator(const BtfTypes& types, const btf_type* type, std::string_view wanted) {
  for (uint32_t i = 0; i < btf_vlen(type); ++i) {
    const bool wide = btf_is_enum64(type);
    const char* const name =
        btf__name_by_offset(types.raw(), wide ? btf_enum64(type)[i].name_off : btf_enum(type)[i].name_off);
    if (!name || wanted != name) continue;
    return wide ? btf_enum64_value(&btf_enum64(type)[i])
                : static_cast<uint64_t>(int64_t{btf_enum(type)[i].val});
  }
  return std::nullopt;
}

class Planner {
 public:
  Planner(const GuestKernel& kernel, const KernelLayout& layout)
      : kernel_(kernel), layout_(layout), maps_(BpfObjects(kernel, layout).maps().found) {}

  PlannedMapWrite plan(const MapWrite& write) const {
    const BpfMap map = findMap(maps_, write.map);
    if (map.type != BPF_MAP_TYPE_ARRAY)
      refuse("map-not-writable", text(map.name, " is of type ", mapTypeName(map.type)),
             "arrays can be written, which .bss and .data are, too");
    if (map.frozen)
      refuse("map-not-writable", text(map.name, " is frozen"),
             "the verifier has put its values into the programs: set them before they are loaded");
    PlannedMapWrite planned{map.name, 0, {}, {}, {}};
    const uint64_t offset = encode(map, write, planned.bytes);
    const auto element = arrayElement(layout_, map, 0);
    if (!element || offset > map.valueSize || planned.bytes.size() > map.valueSize - offset)
      refuse("path-invalid", text(write.place, " is not inside the value of ", map.name),
             text("it has ", map.valueSize, " bytes"));
    planned.address = *element + offset;
    locate(planned);
    return planned;
  }

 private:
  uint64_t encode(const BpfMap& map, const MapWrite& write, std::vector<std::byte>& bytes) const {
    if (write.place.starts_with('+')) {
      const auto offset = parseNumber(std::string_view(write.place).substr(1)),
                 value = parseNumber(write.value);
      if (!offset || offset->negative)
        refuse("path-invalid", text(write.place, " is no offset"), "as in +16");
      if (!value || !fitsEither(*value, untypedBytes))
        refuse("value-invalid", text(write.value, " is no number of four bytes"), "decimal or 0x hex");
      bytes = littleEndian(value->value, untypedBytes);
      return offset->value;
    }
    const auto types = readProgramTypes(kernel_, layout_, map.btf);
    if (!types.types || map.valueType == 0)
      throw Error(ExitCode::inconclusive, "types-missing",
                  types.types ? text(map.name, " has a value without a type") : types.problem,
                  "give the place as +OFFSET");
    const auto place = resolvePath(*types.types, map.valueType, write.place);
    bytes = encodeValue(*types.types, place, write.value);
    return place.offset;
  }

  void locate(PlannedMapWrite& planned) const {
    planned.before.resize(planned.bytes.size());
    bool mapped = kernel_.copy(planned.address, planned.before);
    for (size_t at = 0; at < planned.bytes.size() && mapped;) {
      const uint64_t va = planned.address + at;
      const size_t size = std::min<uint64_t>(planned.bytes.size() - at, pageBytes - va % pageBytes);
      const auto gpa = kernel_.translate(va);
      mapped = gpa.has_value();
      if (gpa) planned.pieces.push_back({*gpa, at, size});
      at += size;
    }
    if (!mapped)
      throw Error(ExitCode::inconclusive, "not-in-memory",
                  text("the value of ", planned.map, " at ", hex(planned.address), " is not in guest memory"),
                  "the map may be being freed");
  }

  const GuestKernel& kernel_;
  const KernelLayout& layout_;
  std::vector<BpfMap> maps_;
};

}  // namespace

std::vector<std::byte> encodeValue(const BtfTypes& types, const TypePlace& place, const std::string& value) {
  const btf_type* const type = types.strip(place.typeId);
  const auto size = typeSize(types, place.typeId);
  const std::string name = typeName(types, place.typeId);
  if (place.bits != 0)
    refuse("map-not-writable", text("a bit field of ", name), "it shares its bytes with others");
  if (!type || !size || *size == 0 || *size > 8 || !(btf_is_int(type) || btf_is_any_enum(type)))
    refuse("map-not-writable", text(name, " is no number"), "lead the path to a number, bool or enum");
  const bool isBool = btf_is_int(type) && (btf_int_encoding(type) & BTF_INT_BOOL);
  auto number = parseNumber(value);
  if (isBool && (value == "true" || value == "false")) number = Number{value == "true", false};
  if (btf_is_any_enum(type)) {
    if (const auto known = enumerator(types, type, value)) return littleEndian(*known, *size);
  }
  const bool isEnum = btf_is_any_enum(type);
  const bool isSigned = !isEnum && (btf_int_encoding(type) & BTF_INT_SIGNED);
  const bool holds = number && (isEnum ? fitsEither(*number, *size) : fits(*number, *size, isSigned));
  if (!holds || (isBool && number->value > 1))
    refuse("value-invalid", text(value, " is no value of ", name), text("it has ", *size, " bytes"));
  return littleEndian(number->value, *size);
}

std::vector<PlannedMapWrite> planMapWrites(const GuestKernel& kernel, const KernelLayout& layout,
                                           std::span<const MapWrite> writes) {
  const Planner planner(kernel, layout);
  std::vector<PlannedMapWrite> planned;
  for (const auto& write : writes) planned.push_back(planner.plan(write));
  return planned;
}

}  // namespace ktstr
