#include "orchestrator/library/tools.h"

#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {

std::string ask(const std::string& program, const Words& words, const std::string& input) {
  const Fd asked = makeMemfd("input", 0), output = makeMemfd("output", 0), errors = makeMemfd("errors", 0);
  writeAll(asked.get(), input);
  lseek(asked.get(), 0, SEEK_SET);
  SpawnOptions options;
  const auto installed = findProgram(program);
  options.executable = getenv("KTSTR_BIN_DIR") == nullptr && installed ? *installed : toolPath(program);
  options.arguments = words;
  options.standardInput = asked.get();
  options.standardOutput = output.get();
  options.standardError = errors.get();
  const int status = spawn(options).wait();
  std::string said = readAll(output.get(), size_t{256} << 20);
  if (!said.empty()) return said;
  throw Error(ExitCode::infrastructure, "run-failed",
              text(program, " ended with ", describeWaitStatus(status), ": ", readAll(errors.get())));
}

bool isKernelRange(const std::string& name) {
  return name.find("..") != name.npos && name.find('/') == name.npos;
}

Words expandKernel(const std::string& name) {
  if (!isKernelRange(name)) return {name};
  Words kernels;
  std::istringstream lines(ask("ktstr-cache", {"expand", name}));
  for (std::string kernel; std::getline(lines, kernel);) kernels.push_back(kernel);
  return kernels;
}

}  // namespace ktstr
