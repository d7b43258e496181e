// Reads what a guest kernel says on its console. Foreign bytes: bounded, never trusted, never passed on raw.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ktstr {

// A sched_ext scheduler leaving, in the kernel's own words (kernel/sched/ext.c, scx_disable_workfn):
//   sched_ext: BPF scheduler "simple" disabled (runnable task stall)
//   sched_ext: simple: watchdog failed to check in for 30.001s
struct SchedExtExit {
  std::string ops;
  std::string reason;    // the text in parentheses
  std::string message;   // of the following line; empty if there is none
  bool asked() const;    // unregistered on request: the normal way out
  bool stalled() const;  // by the sched_ext watchdog
  // How long a task had waited then: "simple: yes[123] failed to run for 5.123s". Nothing if it does not say.
  std::optional<double> stalledForMs() const;
  // Of the task that the message is about: the last "comm[pid]" in it. Nothing if there is none.
  std::optional<uint32_t> pid() const;
};

struct ConsoleReport {
  std::optional<std::string> panic;     // "Kernel panic - not syncing: ..." without time stamp
  std::vector<std::string> panicLines;  // from the oops before it (if any) through the panic, at most 24
  std::optional<std::string> rip;       // "sched_tick+0x1f/0x2a0"
  std::optional<std::string> noInit;    // the line that says that init could not be run or no root was found
  bool initDied = false;                // the panic is "Attempted to kill init"
  std::vector<std::string> oopses;      // BUG, Oops, general protection fault; at most 16 each
  std::vector<std::string>
      lockups;  // soft and hard lockups, hung tasks, RCU stalls and what RCU says of them
  std::vector<std::string> warnings;  // WARNING: CPU: ...
  std::vector<SchedExtExit> schedExtExits;
  std::vector<std::string> tail;  // the last 12 lines that are not empty
};

// At most this much is read; of a longer console the first half and the last half of it.
inline constexpr size_t maxConsoleBytes = size_t{1} << 20;

ConsoleReport classifyConsole(std::string_view console);

// Without ANSI sequences and control bytes other than newline and tab; "\r\n" is "\n"; bytes that are not
// UTF-8 are
// '?'. Safe to write to a terminal.
std::string cleanText(std::string_view raw);

}  // namespace ktstr
