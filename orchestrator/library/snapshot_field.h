// One value of a snapshot: of a BPF map, or of the scheduler's own statistics.
//
// Every error names what was asked for, how far it led, and what there is instead. By their name:
//   field-not-found       no such member; the members there are
//   not-a-struct          a path goes on behind something that has no members
//   index-out-of-range    of a list, a map, a CPU
//   empty-path-component  "a..b"
//   type-mismatch         asked for as something that it is not
//   not-rendered          the dump has a reason instead of the value
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "orchestrator/library/json_tree.h"

namespace ktstr {

class SnapshotField {
 public:
  // `path`: how messages call it. Throws Error "json-invalid".
  static SnapshotField parse(std::string path, std::string_view json);

  // "member.member[3].member"; "" is the value itself. A pointer that the dump has followed is what it points
  // to.
  SnapshotField get(std::string_view path) const;

  // A number that is not negative, a boolean, or a pointer: its address.
  uint64_t asU64() const;
  int64_t asI64() const;
  bool asBool() const;
  double asF64() const;       // any number
  std::string asStr() const;  // text, the name of an enumerator, a pointer with its symbol
  template <typename T>
  T as() const;  // uint64_t, int64_t, bool, double, std::string

  const JsonTree& tree() const { return *tree_; }
  const std::string& path() const { return path_; }

 private:
  SnapshotField(std::string path, std::shared_ptr<const JsonTree> tree)
      : path_(std::move(path)), tree_(std::move(tree)) {}
  SnapshotField step(const std::string& component, std::string_view asked) const;
  SnapshotField member(const std::string& name, std::string_view asked) const;
  SnapshotField element(const std::string& index, std::string_view asked) const;
  void requireRendered() const;
  [[noreturn]] void mismatch(const char* wanted) const;

  std::string path_;
  std::shared_ptr<const JsonTree> tree_;
};

template <>
inline uint64_t SnapshotField::as<uint64_t>() const {
  return asU64();
}
template <>
inline int64_t SnapshotField::as<int64_t>() const {
  return asI64();
}
template <>
inline bool SnapshotField::as<bool>() const {
  return asBool();
}
template <>
inline double SnapshotField::as<double>() const {
  return asF64();
}
template <>
inline std::string SnapshotField::as<std::string>() const {
  return asStr();
}

}  // namespace ktstr
