// A worker's process that executes the author's program to be what it is: what it must know is handed over in
// one variable of the environment and three descriptors.
#pragma once

#include <cstdint>
#include <string>

namespace ktstr::work {

inline constexpr const char* handoverVariable = "KTSTR_WORKER";

struct Handover {
  std::string function;           // custom.name
  std::string comm;               // of its threads; empty: the program's name
  uint32_t workers = 0;           // of the whole group
  uint32_t first = 0, count = 0;  // which of them this process is
  bool threads = false;
  // Inherited: when it is readable they begin; WorkGroup::pages(); SetupNotes::fd().
  int start = -1, pages = -1, notes = -1;

  std::string variable() const;  // the value of `handoverVariable`
};

// In the child, to be called with nothing else going on: makes the descriptors inheritable and executes
// `path` as a GoogleTest program whose only test is the work, with its output to /dev/null (errors stay on
// the console). Returns errno.
int executeWorkers(const Handover& handover, const std::string& path);

// In the program: does the work and exits. What keeps it from that, such as a function that is not there, is
// left as a setup note.
[[noreturn]] void runHandedOver(const char* variable) noexcept;

}  // namespace ktstr::work
