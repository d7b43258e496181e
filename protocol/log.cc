// Whole in here, on Debian's fmt: there is no static library of it, and ktstr-vmm is linked statically.
#define SPDLOG_HEADER_ONLY
#define SPDLOG_FMT_EXTERNAL
#define FMT_HEADER_ONLY
#define SPDLOG_LEVEL_NAMES \
  { "trace", "debug", "info", "warn", "error", "audit", "off" }

#include "protocol/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ansicolor_sink.h>

#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>

#include "protocol/json_string.h"
#include "protocol/text.h"

namespace ktstr::log {
namespace {

struct Logger {
  std::string process = "ktstr";
  bool json = false;
  std::shared_ptr<spdlog::logger> sink;
};

Logger& logger() {
  static Logger instance;
  return instance;
}

std::string_view variable(const char* name) {
  const char* value = getenv(name);
  return value != nullptr ? value : "";
}

// Level and spdlog's agree: 1 is debug, 4 is error, and 5, its critical, our audit.
spdlog::level::level_enum toSpdlog(Level level) {
  return static_cast<spdlog::level::level_enum>(level);
}

// Messages may quote a guest's bytes: nothing of them may steer a terminal or fake a line.
std::string printable(std::string_view message) {
  std::string result;
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      result += "\\n";
    } else if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
      result += text("\\x", "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]);
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace

void start(const char* process) {
  Logger& our = logger();
  our.process = process;
  const std::string_view name = variable("KTSTR_LOG");
  const auto level = spdlog::level::from_str(std::string(name));
  const bool known = level >= spdlog::level::debug && level <= spdlog::level::err;
  const std::string_view format = variable("KTSTR_LOG_FORMAT");
  our.json = format == "json";
  tzset();                           // opens /etc/localtime now; a sandbox forbids it later
  spdlog::details::os::thread_id();  // likewise asks for it now, and remembers it
  auto formatter = std::make_unique<spdlog::pattern_formatter>(
      our.json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","pid":%P,%v})" : "%H:%M:%S.%e %^%v%$",
      spdlog::pattern_time_type::utc);
  auto sink = std::make_shared<spdlog::sinks::ansicolor_stderr_sink_mt>(
      our.json ? spdlog::color_mode::never : spdlog::color_mode::automatic);
  our.sink = std::make_shared<spdlog::logger>(our.process, std::move(sink));
  our.sink->set_formatter(std::move(formatter));
  our.sink->set_level(known ? level : spdlog::level::warn);
  if (!known && !name.empty()) warn(text("KTSTR_LOG=", name, " is none of debug, info, warn, error"));
  if (!our.json && format != "text" && !format.empty())
    warn(text("KTSTR_LOG_FORMAT=", format, " is neither text nor json"));
}

void write(Level level, std::string_view message) {
  Logger& our = logger();
  if (our.sink == nullptr) start("ktstr");
  const auto spdlogLevel = toSpdlog(level);
  if (!our.sink->should_log(spdlogLevel)) return;
  const char* name = spdlog::level::to_string_view(spdlogLevel).data();
  const std::string line = our.json ? text(R"("level":")", name, R"(","process":)", jsonString(our.process),
                                           R"(,"message":)", jsonString(message))
                                    : text(name, ' ', our.process, ": ", printable(message));
  our.sink->log(spdlogLevel, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace ktstr::log
