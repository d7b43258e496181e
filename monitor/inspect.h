// What `ktstr-monitor maps`, `map`, `progs`, ... answer: one look at a kernel, as records.
#pragma once

#include <string>
#include <vector>

#include "monitor/attach.h"
#include "monitor/renderer.h"
#include "monitor/value.h"

namespace ktstr {

struct Inspection {
  std::string command;  // "maps", "map", "progs", "tasks", "events", "symbol", "type", "read", "support"
  std::vector<std::string> arguments;  // as on the command line; an empty one is not given
  size_t limit = 4096;                 // records
  unsigned hops = 0;                   // pointers followed
};

struct Findings {
  std::vector<Value> records;         // objects, all of a command's with the same members in one order
  std::vector<std::string> problems;  // what could not be seen, and why
};

// Throws Error "map-unknown", "map-ambiguous", "program-unknown", "type-unknown", "path-invalid",
// "symbol-unknown", "address-invalid" (usage), "btf-missing", "not-in-memory" (inconclusive).
Findings inspect(const Attachment& attachment, const Inspection& what);

// JSON Lines; or a table for records that are flat, else one indented block for each. Ends with a newline if
// there is anything.
std::string asJsonLines(const std::vector<Value>& records);
std::string asTable(const std::vector<Value>& records);

}  // namespace ktstr
