#include "orchestrator/console.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace ktstr {

namespace {

constexpr size_t maxLinesPerKind = 16;
constexpr size_t maxPanicLines = 24;
constexpr size_t maxTailLines = 12;
constexpr size_t maxLineBytes = 512;

template <size_t N>
bool containsAny(std::string_view line, const std::array<std::string_view, N>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](std::string_view pattern) { return line.find(pattern) != std::string_view::npos; });
}

// init/main.c kernel_init(), run_init_process(); init/do_mounts.c mount_root_generic().
constexpr std::array<std::string_view, 5> noInitPatterns = {
    "Failed to execute /init", "No working init found", "Unable to mount root fs", "Requested init ",
    "check access for rdinit="};
// arch/x86 fault.c, dumpstack.c, traps.c; lib/bug.c.
constexpr std::array<std::string_view, 6> oopsPatterns = {
    "BUG: unable to handle",    "BUG: kernel NULL pointer",    "kernel BUG at", "Oops:",
    "general protection fault", "BUG: scheduling while atomic"};
// kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/hung_task.c.
constexpr std::array<std::string_view, 4> lockupPatterns = {"BUG: soft lockup", "hard LOCKUP",
                                                            "detected stall", "blocked for more than"};

// "[    1.234567] text" and "[    1.234567][  T12] text" without the prefix.
std::string_view withoutTimestamp(std::string_view line) {
  while (line.starts_with('[')) {
    const size_t end = line.find(']');
    if (end == std::string_view::npos || end > 24) break;
    const auto inside = line.substr(1, end - 1);
    if (inside.find_first_not_of(" .0123456789TC") != std::string_view::npos) break;
    line.remove_prefix(end + 1);
    while (line.starts_with(' ')) line.remove_prefix(1);
  }
  return line;
}

void keep(std::vector<std::string>& lines, std::string_view line) {
  if (lines.size() < maxLinesPerKind) lines.emplace_back(line);
}

// RIP: 0010:sched_tick+0x1f/0x2a0
std::optional<std::string> ripOf(std::string_view line) {
  const size_t at = line.find("RIP: ");
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view place = line.substr(at + 5);
  const size_t colon = place.find(':');
  if (colon != std::string_view::npos) place.remove_prefix(colon + 1);
  return std::string(place.substr(0, place.find(' ')));
}

class Classifier {
 public:
  void take(std::string_view raw) {
    const std::string_view line = withoutTimestamp(raw.substr(0, maxLineBytes));
    if (line.find_first_not_of(" \t") == std::string_view::npos) return;
    report_.tail.emplace_back(line);
    if (report_.tail.size() > 2 * maxTailLines) trimTail();
    takeSchedExt(line);
    takeTrouble(line);
    takePanic(line);
  }

  ConsoleReport finish() {
    trimTail();
    if (!report_.panic) report_.panicLines.clear();
    return std::move(report_);
  }

 private:
  void trimTail() {
    auto& tail = report_.tail;
    if (tail.size() > maxTailLines) tail.erase(tail.begin(), tail.end() - maxTailLines);
  }

  void takeSchedExt(std::string_view line) {
    constexpr std::string_view prefix = "sched_ext: ", start = "BPF scheduler \"", middle = "\" disabled (";
    const size_t at = line.find(prefix);
    if (at == std::string_view::npos) return;
    line.remove_prefix(at + prefix.size());
    auto& exits = report_.schedExtExits;
    const size_t name = line.find(start), reason = line.find(middle);
    if (name == 0 && reason != std::string_view::npos) {
      if (exits.size() >= maxLinesPerKind) return;
      const size_t open = reason + middle.size(), close = line.rfind(')');
      exits.push_back({std::string(line.substr(start.size(), reason - start.size())),
                       std::string(line.substr(open, close == std::string_view::npos || close < open
                                                         ? std::string_view::npos
                                                         : close - open)),
                       ""});
    } else if (!exits.empty() && exits.back().message.empty() && line.starts_with(exits.back().ops + ": ")) {
      exits.back().message = line.substr(exits.back().ops.size() + 2);
    }
  }

  void takeTrouble(std::string_view line) {
    if (line.find("Kernel panic") != std::string_view::npos) return;
    const bool moreOfStall = !report_.lockups.empty() && line.starts_with("rcu: ");  // who, since when, why
    if (containsAny(line, lockupPatterns) || moreOfStall) {
      keep(report_.lockups, line);
    } else if (containsAny(line, oopsPatterns)) {
      keep(report_.oopses, line);
      oopsSeen_ = true;
    } else if (line.starts_with("WARNING: ")) {
      keep(report_.warnings, line);
    }
    if (!report_.noInit && containsAny(line, noInitPatterns)) report_.noInit = line;
  }

  void takePanic(std::string_view line) {
    const size_t at = line.find("Kernel panic - not syncing");
    if (at != std::string_view::npos && !report_.panic) {
      report_.panic = line.substr(at);
      report_.initDied = line.find("Attempted to kill init") != std::string_view::npos;
      if (containsAny(line, noInitPatterns)) report_.noInit = line.substr(at);
      // The panic line belongs into the excerpt, however long the oops before it was.
      if (report_.panicLines.size() >= maxPanicLines) report_.panicLines.pop_back();
    }
    const bool inside = report_.panic || oopsSeen_;
    if (inside && report_.panicLines.size() < maxPanicLines) report_.panicLines.emplace_back(line);
    if (inside && !report_.rip) report_.rip = ripOf(line);
  }

  ConsoleReport report_;
  bool oopsSeen_ = false;
};

// Length of the ANSI sequence at the start of `text` (which begins with ESC), at least 1.
size_t escapeLength(std::string_view text) {
  if (text.size() < 2) return text.size();
  if (text[1] == ']') {  // operating system command: up to BEL or ESC backslash
    for (size_t i = 2; i < text.size(); ++i) {
      if (text[i] == '\a') return i + 1;
      if (text[i] == '\x1b') return i + (i + 1 < text.size() && text[i + 1] == '\\' ? 2 : 0);
      if (text[i] == '\n') return i;
    }
    return text.size();
  }
  if (text[1] != '[') return text[1] == '\n' ? 1 : 2;
  size_t i = 2;  // control sequence: parameters and intermediates 0x20-0x3f, then a final byte 0x40-0x7e
  while (i < text.size() && text[i] >= 0x20 && text[i] <= 0x3f) ++i;
  return i < text.size() && text[i] >= 0x40 && text[i] <= 0x7e ? i + 1 : i;
}

// Length of the valid UTF-8 character at the start of `text`, or 0.
size_t utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0x80                    ? 1
                        : first >= 0xc2 && first < 0xe0 ? 2
                        : first >= 0xe0 && first < 0xf0 ? 3
                        : first >= 0xf0 && first < 0xf5 ? 4
                                                        : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (first == 0xe0 && byte(1) < 0xa0) return 0;   // overlong
  if (first == 0xed && byte(1) >= 0xa0) return 0;  // surrogate
  if (first == 0xf0 && byte(1) < 0x90) return 0;   // overlong
  if (first == 0xf4 && byte(1) >= 0x90) return 0;  // above U+10FFFF
  if (first == 0xc2 && byte(1) < 0xa0) return 0;   // C1 controls
  return length;
}

}  // namespace

bool SchedExtExit::asked() const {
  return reason.starts_with("unregistered from");
}

bool SchedExtExit::stalled() const {
  return reason == "runnable task stall";
}

std::optional<double> SchedExtExit::stalledForMs() const {
  constexpr std::string_view before = " for ";
  const size_t at = message.rfind(before);
  double seconds = 0;
  if (at == std::string::npos || sscanf(message.c_str() + at + before.size(), "%lfs", &seconds) != 1)
    return std::nullopt;
  return seconds * 1000;
}

std::optional<uint32_t> SchedExtExit::pid() const {
  for (size_t at = message.rfind('['); at != std::string::npos && at > 0; at = message.rfind('[', at - 1)) {
    uint32_t pid = 0;
    int end = 0;
    if (sscanf(message.c_str() + at, "[%9u]%n", &pid, &end) == 1 && end > 0) return pid;
  }
  return std::nullopt;
}

std::string cleanText(std::string_view raw) {
  std::string out;
  out.reserve(raw.size());
  while (!raw.empty()) {
    const char c = raw[0];
    size_t length = 1;
    if (c == '\x1b') {
      length = escapeLength(raw);
    } else if (c == '\n' || c == '\t') {  // NOLINT(bugprone-branch-clone): control characters to be kept
      out += c;
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      length = utf8Length(raw);
      if (length == 0) {
        out += '?';
        length = 1;
      } else {
        out += raw.substr(0, length);
      }
    } else if (c >= 0x20 && c != 0x7f) {
      out += c;
    }
    raw.remove_prefix(length);
  }
  return out;
}

ConsoleReport classifyConsole(std::string_view console) {
  std::string shortened;
  if (console.size() > maxConsoleBytes) {
    shortened = console.substr(0, maxConsoleBytes / 2);
    shortened += '\n';
    shortened += console.substr(console.size() - maxConsoleBytes / 2);
    console = shortened;
  }
  const std::string clean = cleanText(console);
  Classifier classifier;
  std::string_view rest = clean;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    classifier.take(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return classifier.finish();
}

}  // namespace ktstr
