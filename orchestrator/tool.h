// Running another executable of ours to its end.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "protocol/fd.h"

namespace ktstr {

// {read end, write end}, close-on-exec. Throws Error "pipe-failed".
std::pair<Fd, Fd> makePipe();

struct ToolResult {
  std::string output;  // what it wrote to standard output; its standard error is ours
  int status;          // wait status
};

// Throws Error "tool-missing", "spawn-failed", and "file-too-large" for more than `limit` bytes of output.
ToolResult runTool(const std::string& name, std::vector<std::string> arguments,
                   size_t limit = size_t{1} << 20);

// The standard output of a tool of ours, or an Error `failure` with the tool's own exit code.
std::string toolOutput(const std::string& tool, std::vector<std::string> arguments,
                       const std::string& failure);

}  // namespace ktstr
