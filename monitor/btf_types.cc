#include "monitor/btf_types.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <unordered_map>
#include <utility>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr unsigned maxDepth = 16;         // of anonymous members in each other
constexpr unsigned maxModifiers = 20;     // const, volatile, typedef, type tag in a row
constexpr unsigned maxMembers = 100'000;  // looked at in one call
constexpr unsigned maxListed = 1024, maxEnumerators = 256;
constexpr size_t maxNameBytes = 128;

bool isModifier(const btf_type* type) {
  return btf_is_mod(type) || btf_is_typedef(type);
}

bool isIdentifier(std::string_view name) {
  return !name.empty() && name.size() <= maxNameBytes &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return (c < 0x80 && std::isalnum(c)) || c == '_'; });
}

}  // namespace

template <typename Visit>
void BtfTypes::forEachNamed(Visit visit) const {
  const uint32_t count = btf__type_cnt(btf_);
  for (uint32_t id = 1; id < count; ++id) {
    const btf_type* const type = btf__type_by_id(btf_, id);
    if (!btf_is_composite(type) && !btf_is_any_enum(type) && !btf_is_typedef(type)) continue;
    const char* const own = btf__name_by_offset(btf_, type->name_off);
    if (own) visit(id, std::string_view(own));
  }
}

BtfTypes::BtfTypes(std::span<const std::byte> bytes) {
  libbpf_set_print(nullptr);
  if (bytes.size() <= std::numeric_limits<uint32_t>::max()) {
    btf_ = btf__new(bytes.data(), static_cast<uint32_t>(bytes.size()));
  }
  if (!btf_) {
    throw Error(ExitCode::inconclusive, "btf-invalid",
                text("libbpf refuses the kernel's ", bytes.size(), " bytes of BTF"),
                "the guest's kernel is damaged or its BTF is newer than this libbpf");
  }
}

BtfTypes::BtfTypes(BtfTypes&& other) noexcept
    : btf_(std::exchange(other.btf_, nullptr)), named_(std::move(other.named_)) {}

BtfTypes::~BtfTypes() {
  btf__free(btf_);
}

std::vector<uint32_t> BtfTypes::named(const std::string& name) const {
  const auto known = named_.find(name);
  if (known != named_.end()) return known->second;
  std::vector<uint32_t> ids;
  forEachNamed([&](uint32_t id, std::string_view own) {
    if (own == name) ids.push_back(id);
  });
  return named_[name] = ids;
}

void BtfTypes::lookUp(const std::vector<std::string>& names) {
  std::unordered_map<std::string_view, std::vector<uint32_t>*> wanted;
  for (const auto& name : names) {
    const auto [at, isNew] = named_.try_emplace(name);
    if (isNew) wanted[at->first] = &at->second;
  }
  forEachNamed([&](uint32_t id, std::string_view own) {
    if (const auto found = wanted.find(own); found != wanted.end()) found->second->push_back(id);
  });
}

const btf_type* BtfTypes::strip(uint32_t id) const {
  const btf_type* type = btf__type_by_id(btf_, id);
  for (unsigned hop = 0; type && isModifier(type); ++hop) {
    if (hop == maxModifiers) return nullptr;
    type = btf__type_by_id(btf_, type->type);
  }
  return type;
}

std::optional<BtfTypes::Found> BtfTypes::find(uint32_t aggregateId, Search& search, unsigned depth) const {
  const btf_type* const aggregate = strip(aggregateId);
  if (depth > maxDepth || !aggregate || !btf_is_composite(aggregate)) return std::nullopt;
  const btf_member* const members = btf_members(aggregate);
  for (uint32_t i = 0; i < btf_vlen(aggregate); ++i) {
    if (search.budget == 0) return std::nullopt;
    --search.budget;
    const char* const name = btf__name_by_offset(btf_, members[i].name_off);
    const Found here{members[i].type, btf_member_bit_offset(aggregate, i),
                     btf_member_bitfield_size(aggregate, i)};
    if (name && *name != 0) {
      if (search.name == name) return here;
      continue;
    }
    if (auto inner = find(here.typeId, search, depth + 1)) {
      inner->bitOffset += here.bitOffset;
      return inner;
    }
    if (search.budget == 0) return std::nullopt;
  }
  return std::nullopt;
}

std::optional<BtfTypes::Found> BtfTypes::memberOf(uint32_t aggregateId, std::string_view name) const {
  Search search{name, maxMembers};
  return find(aggregateId, search, 0);
}

MemberResult BtfTypes::resolve(uint32_t structId, std::string_view path, Search& search) const {
  uint32_t id = structId;
  uint64_t bits = 0;
  while (!path.empty()) {
    const auto name = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    search.name = name;
    const auto found = find(id, search, 0);
    if (!found)
      return {std::nullopt, text("no member ", name, search.budget == 0 ? ", as far as was looked" : "")};
    if (found->bits != 0 || found->bitOffset % 8 != 0) return {std::nullopt, text(name, " is a bit field")};
    bits += found->bitOffset;
    id = found->typeId;
  }
  const int64_t size = btf__resolve_size(btf_, id);
  constexpr int64_t limit = 1 << 20;
  if (size < 0 || size > limit || bits / 8 > limit) return {std::nullopt, "implausible size or offset"};
  return {Field{static_cast<uint32_t>(bits / 8), static_cast<uint32_t>(size)}, {}};
}

MemberResult BtfTypes::member(const std::string& structName, std::string_view path) const {
  MemberResult result{std::nullopt, text("no struct ", structName)};
  Search search{{}, maxMembers};
  for (const uint32_t id : named(structName)) {
    if (!btf_is_composite(btf__type_by_id(btf_, id))) continue;
    result = resolve(id, path, search);
    if (result.field || search.budget == 0) break;
  }
  return result;
}

MemberResult BtfTypes::sizeWith(const std::string& structName, std::string_view member) const {
  MemberResult result{std::nullopt, text("no struct ", structName)};
  Search search{{}, maxMembers};
  for (const uint32_t id : named(structName)) {
    if (!btf_is_composite(btf__type_by_id(btf_, id))) continue;
    result = resolve(id, member, search);
    if (result.field) return resolve(id, {}, search);
    if (search.budget == 0) break;
  }
  return result;
}

std::vector<NamedField> BtfTypes::members(const std::string& structName) const {
  std::vector<NamedField> result;
  Search search{{}, maxMembers};
  for (const uint32_t id : named(structName)) {
    const btf_type* const type = btf__type_by_id(btf_, id);
    if (!btf_is_composite(type)) continue;
    for (uint32_t i = 0; i < std::min<uint32_t>(btf_vlen(type), maxListed); ++i) {
      const char* const name = btf__name_by_offset(btf_, btf_members(type)[i].name_off);
      if (!name || !isIdentifier(name)) continue;
      if (const auto found = resolve(id, name, search).field) result.push_back({name, *found});
    }
    break;
  }
  return result;
}

std::vector<Enumerator> BtfTypes::enumerators(const std::string& enumName) const {
  std::vector<Enumerator> result;
  for (const uint32_t id : named(enumName)) {
    const btf_type* const type = btf__type_by_id(btf_, id);
    if (!btf_is_enum(type)) continue;
    const auto* const values = btf_enum(type);
    for (uint32_t i = 0; i < std::min<uint32_t>(btf_vlen(type), maxEnumerators); ++i) {
      const char* const name = btf__name_by_offset(btf_, values[i].name_off);
      if (name) result.push_back({name, values[i].val});
    }
    break;
  }
  return result;
}

}  // namespace ktstr
