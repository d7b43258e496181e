// Values of guest memory that are looked at again and again, from outside: what is to happen at a change is
// somebody else's business. Sampled: a value that changes and changes back between two looks was never seen,
// and of several changes only the last one is. In return the guest is not slowed down, any number of values
// of any size can be watched, and so can what has no fixed address.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "monitor/btf_types.h"
#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"
#include "monitor/value.h"
#include "monitor/watch_expression.h"

namespace ktstr {

// Where values are looked for. All must outlive what is made from it.
struct WatchedGuest {
  const GuestKernel& kernel;
  const KernelLayout& layout;
  const SymbolTable& symbols;
};

struct WatchChange {
  std::string expression, before, after;  // JSON; before is empty of a comparison that held from the start
};

class WatchedPlace;

// What cannot be read, as a map of a scheduler that has left, is no change: the next value that can be is
// compared with the last one that could. With a comparison a change is when it begins to hold, also at the
// first look.
class Watches {
 public:
  static constexpr size_t most = 16;
  static constexpr uint32_t mostBytes = 4096;  // of a value

  Watches();
  ~Watches();

  // Takes a first look. Throws Error "watch-invalid", "too-many-watches", "symbol-unknown",
  // "address-invalid", "type-unknown", "map-unknown", "map-ambiguous", "path-invalid" (usage),
  // "types-missing", "not-in-memory", "btf-missing" (inconclusive).
  void add(const std::string& expression, const WatchedGuest& guest);

  // Those that have changed since the last look. Throws nothing because of what is in guest memory.
  std::vector<WatchChange> look(const WatchedGuest& guest);
  bool empty() const { return watches_.empty(); }

 private:
  struct Watch {
    std::string expression;
    WatchExpression parsed;
    std::unique_ptr<WatchedPlace> place;
    std::string last;   // JSON; empty: none
    bool held = false;  // the comparison
  };
  static std::optional<WatchChange> compare(Watch& watch, const Value& value);

  std::shared_ptr<const BtfTypes> kernelTypes_;  // made when first needed
  std::vector<Watch> watches_;
};

}  // namespace ktstr
