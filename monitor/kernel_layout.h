// Which members and constants of kernel types we use, where they are in one kernel, and which it does not
// have.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/btf_types.h"

namespace ktstr {

class KernelLayout {
 public:
  // Looks up everything we use.
  static KernelLayout fromBtf(BtfTypes types);

  // One line for each item: "member rq.clock 2624 8", "constant scx_enable_state.enabled 1",
  // "absent rq.foo no member foo". fromText() is strict and bounded; nothing if a line is malformed.
  std::string toText() const;
  static std::optional<KernelLayout> fromText(std::string_view text);

  // Changes whenever the list of what we look up does: a stored layout with another tag is of no use.
  static uint64_t tag();

  // By "struct.path": "rq.scx.local_dsq.nr". "bucket.#head" is the whole of the struct bucket that has a
  // head: offset 0 and its size.
  std::optional<Field> member(std::string_view name) const;
  // "enum.name" with the name's common prefix removed, in lower case: "scx_enable_state.enabled".
  std::optional<int64_t> constant(std::string_view name) const;
  // All members of a struct that was asked for as a whole ("scx_event_stats"), in order of offset.
  std::vector<NamedField> members(std::string_view structName) const;
  // All of an enum that is looked for as a whole ("scx_exit_kind"), with their full names, by value.
  std::vector<Enumerator> enumerators(std::string_view enumName) const;
  // What every sample would have: "rq.foo: no member foo", in order of name.
  std::vector<std::string> absent() const;
  // Why there is no such member or constant: "scx_sched.pcpu: no member pcpu".
  std::string whyAbsent(std::string_view name) const;

 private:
  std::map<std::string, Field, std::less<>> members_;
  std::map<std::string, int64_t, std::less<>> constants_;
  std::map<std::string, std::string, std::less<>> absent_;
};

}  // namespace ktstr
