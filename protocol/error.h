// The one error type of all processes: a stable name, the evidence, and the next step.
#pragma once

#include <exception>
#include <string>

namespace ktstr {

// Exit codes of every tool. README.md repeats this table.
enum class ExitCode : int {
  pass = 0,
  fail = 1,
  usage = 2,           // command line, scenario or configuration
  inconclusive = 3,    // evidence is missing
  infrastructure = 4,  // the harness or the host failed
  skipped = 5,         // nothing that was asked for could run here
};

// Thrown for everything that a user may have to react to. Bugs of our own are KJ_ASSERT/assert.
//   name     stable kebab-case, what tests and machines match on: "kernel-not-found"
//   message  what happened, with evidence: path, address, errno text, value and limit
//   hint     what to do next; empty only if there is nothing to do
//   code     what a tool that ends because of this error exits with
class Error : public std::exception {
 public:
  Error(ExitCode code, std::string name, std::string message, std::string hint = {});

  const char* what() const noexcept override { return full_.c_str(); }  // "name: message (hint)"
  const std::string& name() const { return name_; }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
  std::string name_, message_, hint_, full_;
};

// An infrastructure error from errno: message is "<doing>: <strerror(errnum)>". Reads errno when errnum is 0.
// If that is 0 as well, no call failed: what was read back is not what was set.
Error errnoError(std::string name, const std::string& doing, std::string hint = {}, int errnum = 0);

}  // namespace ktstr
