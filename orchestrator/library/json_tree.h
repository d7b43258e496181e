// Any JSON as a tree, for what no schema describes: values of BPF maps, a scheduler's own statistics.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ktstr {

struct JsonTree {
  enum class Kind { null, boolean, negative, whole, real, text, list, object };
  Kind kind = Kind::null;
  uint64_t number = 0;  // of boolean, whole; of negative, which has a sign: two's complement
  double fraction = 0;  // of real
  std::string text = {};
  std::vector<std::pair<std::string, JsonTree>> members = {};  // a list's have no names

  // Throws Error "json-invalid" for what is not JSON, is nested deeper than 64, or has more than 16 MiB.
  static JsonTree parse(std::string_view json);

  const JsonTree* find(std::string_view name) const;  // a member of an object; null: none
  std::string describe() const;                       // what it is, for messages: "the number 5", "an object"
};

}  // namespace ktstr
