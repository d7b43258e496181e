#include "monitor/watch_expression.h"

#include <charconv>
#include <optional>
#include <sstream>
#include <vector>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr struct {
  const char* sign;
  WatchComparison comparison;
} comparisons[] = {{"==", WatchComparison::equal},  {"!=", WatchComparison::unequal},
                   {"<", WatchComparison::less},    {"<=", WatchComparison::lessEqual},
                   {">", WatchComparison::greater}, {">=", WatchComparison::greaterEqual}};

[[noreturn]] void refuse(const std::string& why, const std::string& hint) {
  throw Error(ExitCode::usage, "watch-invalid", why, hint);
}

WatchComparison comparisonOf(const std::string& word) {
  for (const auto& known : comparisons) {
    if (word == known.sign) return known.comparison;
  }
  return WatchComparison::none;
}

std::vector<std::string> wordsOf(const std::string& expression) {
  std::istringstream in(expression);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// Exact for whole numbers of 64 bits.
std::optional<long double> numberOf(const std::string& words) {
  const char* const end = words.data() + words.size();
  uint64_t whole = 0;
  const bool isHex = words.starts_with("0x");
  const auto [at, error] = std::from_chars(words.data() + (isHex ? 2 : 0), end, whole, isHex ? 16 : 10);
  if (error == std::errc() && at == end) return static_cast<long double>(whole);
  long double number = 0;
  const auto [stop, problem] = std::from_chars(words.data(), end, number);
  if (problem == std::errc() && stop == end) return number;
  return std::nullopt;
}

template <typename T>
bool holds(const T& value, WatchComparison comparison, const T& operand) {
  switch (comparison) {
    case WatchComparison::equal:
      return value == operand;
    case WatchComparison::unequal:
      return value != operand;
    case WatchComparison::less:
      return value < operand;
    case WatchComparison::lessEqual:
      return value <= operand;
    case WatchComparison::greater:
      return value > operand;
    default:
      return value >= operand;
  }
}

}  // namespace

WatchExpression parseWatch(const std::string& expression) {
  constexpr const char* hint =
      "SYMBOL, ADDRESS TYPE [PATH] or MAP:PATH, then == != < <= > >= and a value if it is to be compared";
  WatchExpression parsed;
  std::vector<std::string> words = wordsOf(expression);
  if (words.size() >= 2 && comparisonOf(words[words.size() - 2]) != WatchComparison::none) {
    parsed.comparison = comparisonOf(words[words.size() - 2]);
    parsed.operand = words.back();
    words.resize(words.size() - 2);
  }
  if (words.empty() || words.size() > 3) refuse(text('"', expression, "\" names no value"), hint);
  for (const std::string& word : words) {
    if (comparisonOf(word) != WatchComparison::none)
      refuse(text('"', expression, "\" compares with nothing, or more than once"), hint);
  }
  const size_t colon = words.size() == 1 ? words[0].find(':') : std::string::npos;
  if (colon != std::string::npos) {
    parsed.map = words[0].substr(0, colon);
    parsed.path = words[0].substr(colon + 1);
    if (parsed.map.empty()) refuse(text('"', expression, "\" names no map before the colon"), hint);
    return parsed;
  }
  parsed.address = words[0];
  if (words.size() > 1) parsed.type = words[1];
  if (words.size() > 2) parsed.path = words[2];
  return parsed;
}

bool keepsComparison(const std::string& value, WatchComparison comparison, const std::string& operand) {
  const auto one = numberOf(value), other = numberOf(operand);
  if (one && other) return holds(*one, comparison, *other);
  if (comparison == WatchComparison::equal || comparison == WatchComparison::unequal)
    return holds(value, comparison, operand);
  refuse(text('"', one ? operand : value, "\" is no number"), "texts are compared by == and !=");
}

}  // namespace ktstr
