#include "orchestrator/options.h"

#include <charconv>
#include <limits>
#include <utility>

#include "protocol/error.h"

namespace ktstr {
namespace {

struct Unit {
  const char* suffix;
  uint64_t factor;
};

// A whole number followed by one of the units; nothing if it is anything else, is zero or does not fit.
template <size_t count>
std::optional<uint32_t> parseWithUnit(const std::string& text, const Unit (&units)[count]) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value == 0 || value > std::numeric_limits<uint32_t>::max()) return std::nullopt;
  const std::string suffix(end, text.data() + text.size());
  for (const Unit& unit : units) {
    if (suffix != unit.suffix) continue;
    const uint64_t total = value * unit.factor;
    if (total > std::numeric_limits<uint32_t>::max()) return std::nullopt;
    return static_cast<uint32_t>(total);
  }
  return std::nullopt;
}

}  // namespace

uint32_t parseDuration(const std::string& text) {
  static constexpr Unit units[] = {{"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60'000}};
  const auto value = parseWithUnit(text, units);
  if (!value || *value > 3'600'000) {
    throw Error(ExitCode::usage, "duration-invalid", "\"" + text + "\" is no duration from 1ms to 60m",
                "write it as 1500ms, 2s or 1m");
  }
  return *value;
}

uint32_t parseMemory(const std::string& text) {
  static constexpr Unit units[] = {{"M", 1}, {"MiB", 1}, {"", 1}, {"G", 1024}, {"GiB", 1024}};
  const auto value = parseWithUnit(text, units);
  if (!value) {
    throw Error(ExitCode::usage, "memory-invalid", "\"" + text + "\" is no amount of memory",
                "write it as 512M or 2G");
  }
  return *value;
}

}  // namespace ktstr
