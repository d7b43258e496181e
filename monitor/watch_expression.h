// What may be watched, and when it is of interest:
//
//   EXPRESSION = VALUE [COMPARISON OPERAND]    ".bss:nr_queued > 5", "*scx_root scx_sched aborting == true"
//   VALUE      = SYMBOL                         of the kernel: a number of as many bytes as there are up to
//   the
//                                               next symbol, at most eight
//              | ADDRESS TYPE [PATH]            as of `ktstr-monitor read`
//              | MAP:PATH                       in the one value of an array map, or the first
//   COMPARISON = == != < <= > >=
//   OPERAND    = a number; with == and != also a word: an enumerator, true, text without blanks
//
// Parts are separated by blanks.
#pragma once

#include <string>

namespace ktstr {

enum class WatchComparison { none, equal, unequal, less, lessEqual, greater, greaterEqual };

struct WatchExpression {
  std::string address;    // a symbol, 0xHEX, each with any number of * before it; empty: it is in a map
  std::string type;       // empty: the symbol's number
  std::string map, path;  // path: also into the type
  WatchComparison comparison = WatchComparison::none;
  std::string operand;
};

// Throws Error "watch-invalid" (usage).
WatchExpression parseWatch(const std::string& expression);

// Whether a value, as it is printed, keeps the comparison: as numbers if both are, else as text. Throws Error
// "watch-invalid" where they cannot be compared, of texts with < and the like.
bool keepsComparison(const std::string& value, WatchComparison comparison, const std::string& operand);

}  // namespace ktstr
