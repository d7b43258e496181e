// Logs to stderr, as text for people (colours only on a terminal) or as JSON Lines for machines.
#pragma once

#include <string_view>

namespace ktstr::log {

enum class Level { debug = 1, info, warn, error, audit };

// Once, first thing in main. `process` appears in every line. Level and format come from KTSTR_LOG
// ("debug|info|warn|error", default warn) and KTSTR_LOG_FORMAT ("text|json", default text).
// Opens whatever logging needs, so that it works after a sandbox is locked down.
void start(const char* process);

void write(Level level, std::string_view message);
inline constexpr auto debug = [](std::string_view message) { write(Level::debug, message); };
inline constexpr auto info = [](std::string_view message) { write(Level::info, message); };
inline constexpr auto warn = [](std::string_view message) { write(Level::warn, message); };
inline constexpr auto error = [](std::string_view message) { write(Level::error, message); };
// What was done with an authority that was lent: told whatever KTSTR_LOG says.
inline constexpr auto audit = [](std::string_view message) { write(Level::audit, message); };

}  // namespace ktstr::log
