// Types of a kernel from its BTF (Documentation/bpf/btf.rst), read with libbpf. Probes members by name; never
// compares versions.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct btf;
struct btf_type;

namespace ktstr {

// A member's place: bytes from the beginning of the outermost struct, and its size.
struct Field {
  uint32_t offset;
  uint32_t size;
  bool operator==(const Field&) const = default;
};

struct NamedField {
  std::string name;
  Field field;
};

struct MemberResult {
  std::optional<Field> field;
  std::string problem;  // why there is none: "no such struct", "no member local_dsq", "bit field"
};

struct Enumerator {
  std::string name;
  int64_t value;
};

class BtfTypes {
 public:
  // Copies the bytes. Throws Error "btf-invalid" with libbpf's reason.
  explicit BtfTypes(std::span<const std::byte> bytes);
  BtfTypes(BtfTypes&&) noexcept;
  ~BtfTypes();

  // `path` is "member" or "member.member...": through structs and unions, also anonymous ones, not through
  // pointers. Where several structs have the name, the first with that path counts. Bit fields are refused.
  // The size of a flexible array is 0.
  MemberResult member(const std::string& structName, std::string_view path) const;

  // The whole of the first struct of this name that has this member: offset 0 and its size.
  MemberResult sizeWith(const std::string& structName, std::string_view member) const;

  // The named members of the first struct of this name that are no bit fields, in its order; at most 1024,
  // and none whose name is not a C identifier of at most 128 characters. Empty if there is no such struct.
  std::vector<NamedField> members(const std::string& structName) const;

  // The first 256 enumerators of an enum; empty if there is none of this name.
  std::vector<Enumerator> enumerators(const std::string& enumName) const;

  // For whoever goes through the types itself. Everything in them is foreign: ids may lead nowhere or in a
  // circle, sizes may lie.
  const btf* raw() const { return btf_; }
  // The type behind const, volatile, typedef and the like; nullptr if there is none.
  const btf_type* strip(uint32_t id) const;
  // Ids of the structs, unions, enums and typedefs of this name.
  std::vector<uint32_t> named(const std::string& name) const;
  // Looks for many names at once, for later: each by itself is a look at every type.
  void lookUp(const std::vector<std::string>& names);
  // A member of a struct or union, also of its anonymous ones: its type, its place in bits, and how many bits
  // it has if it is a bit field.
  struct Found {
    uint32_t typeId;
    uint64_t bitOffset;
    uint32_t bits;  // 0: no bit field
  };
  std::optional<Found> memberOf(uint32_t aggregateId, std::string_view name) const;

 private:
  // One for all that one call looks at, however many structs have the name.
  struct Search {
    std::string_view name;
    unsigned budget;  // members still to be looked at
  };
  template <typename Visit>
  void forEachNamed(Visit visit) const;
  std::optional<Found> find(uint32_t aggregateId, Search& search, unsigned depth) const;
  MemberResult resolve(uint32_t structId, std::string_view path, Search& search) const;

  btf* btf_ = nullptr;
  mutable std::map<std::string, std::vector<uint32_t>> named_;  // ids by name, filled as asked for
};

}  // namespace ktstr
