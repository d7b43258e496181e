#include "orchestrator/tool.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"

namespace ktstr {

std::pair<Fd, Fd> makePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw errnoError("pipe-failed", "make a pipe");
  return {Fd(ends[0]), Fd(ends[1])};
}

ToolResult runTool(const std::string& name, std::vector<std::string> arguments, size_t limit) {
  auto [read, write] = makePipe();
  SpawnOptions options;
  options.executable = toolPath(name);
  options.arguments = std::move(arguments);
  options.standardOutput = write.get();
  Child child = spawn(options);
  write.reset();
  std::string output = readAll(read.get(), limit);
  return {std::move(output), child.wait()};
}

std::string toolOutput(const std::string& tool, std::vector<std::string> arguments,
                       const std::string& failure) {
  auto [output, status] = runTool(tool, std::move(arguments));
  if (status == 0) return output;
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(ExitCode::infrastructure);
  throw Error(static_cast<ExitCode>(code), failure, tool + " ended with " + describeWaitStatus(status),
              "its own message above says why");
}

}  // namespace ktstr
