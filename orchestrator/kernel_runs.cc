#include "orchestrator/kernel_runs.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "cache/range.h"
#include "orchestrator/tool.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"

namespace ktstr {
namespace {

volatile sig_atomic_t interrupted = 0;

void noteInterrupt(int) {
  interrupted = 1;
}

// With this kernel for those that they name. What follows "--" is the scheduler's.
std::vector<std::string> wordsFor(const std::string& kernel, const std::vector<std::string>& words) {
  std::vector<std::string> result = {words.front(), "--kernel", kernel};
  const auto end = std::find(words.begin(), words.end(), "--");
  for (auto word = words.begin() + 1; word != words.end(); ++word) {
    if (word < end && *word == "--kernel")
      ++word;
    else if (word >= end || !word->starts_with("--kernel="))
      result.push_back(*word);
  }
  return result;
}

int worse(int a, int b) {
  constexpr ExitCode order[] = {ExitCode::pass,           ExitCode::skipped, ExitCode::inconclusive,
                                ExitCode::infrastructure, ExitCode::usage,   ExitCode::fail};
  const auto place = [&](int code) {
    return std::find(std::begin(order), std::end(order), static_cast<ExitCode>(code));
  };
  return place(a) < place(b) ? b : a;
}

int runOn(const std::string& kernel, const std::vector<std::string>& words, int input) {
  lseek(input, 0, SEEK_SET);
  SpawnOptions options;
  options.executable = toolPath("ktstr-orchestrator");
  options.arguments = wordsFor(kernel, words);
  options.standardInput = input;
  const int status = spawn(options).wait();
  return WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(ExitCode::infrastructure);
}

}  // namespace

std::vector<std::string> expandKernels(const std::vector<std::string>& words) {
  std::vector<std::string> kernels;
  for (const std::string& word : words) {
    const bool range = cache::parseKernelRange(word).has_value();
    std::istringstream lines(range ? toolOutput("ktstr-cache", {"expand", word}, "kernels-unresolved")
                                   : word);
    for (std::string kernel; std::getline(lines, kernel);) {
      if (std::find(kernels.begin(), kernels.end(), kernel) == kernels.end()) kernels.push_back(kernel);
    }
  }
  return kernels;
}

int runOnEach(const std::vector<std::string>& kernels, const std::vector<std::string>& words,
              const std::string& input) {
  const Fd scenario = makeMemfd("scenario", 0);
  writeAll(scenario.get(), input);
  signal(SIGINT, noteInterrupt);
  int worst = static_cast<int>(ExitCode::pass);
  for (const std::string& kernel : kernels) {
    worst = worse(worst, runOn(kernel, words, scenario.get()));
    if (interrupted != 0) break;
  }
  return worst;
}

}  // namespace ktstr
