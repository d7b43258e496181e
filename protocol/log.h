// Logs to stderr, as text for people (colours only on a terminal) or as JSON Lines for machines.
#pragma once

#include <string_view>

namespace ktstr::log {

enum class Level { debug = 1, info, warn, error };

// Once, first thing in main. `process` appears in every line. Level and format come from KTSTR_LOG
// ("debug|info|warn|error", default warn) and KTSTR_LOG_FORMAT ("text|json", default text).
// Opens whatever logging needs, so that it works after a sandbox is locked down.
void start(const char* process);

void write(Level level, std::string_view message);
inline void debug(std::string_view message) {
  write(Level::debug, message);
}
inline void info(std::string_view message) {
  write(Level::info, message);
}
inline void warn(std::string_view message) {
  write(Level::warn, message);
}
inline void error(std::string_view message) {
  write(Level::error, message);
}

}  // namespace ktstr::log
