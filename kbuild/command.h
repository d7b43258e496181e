// Running the host's programs: captured, logged, and stopped as a whole when the user says so.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "protocol/fd.h"

namespace ktstr::kbuild {

// Standard output of a short command, standard error dropped; "" if it does not end with exit code 0.
std::string outputOf(const std::string& executable, const std::vector<std::string>& arguments);

// Thrown after SIGINT, SIGTERM or SIGHUP; what had been begun has been undone by the time it is caught in
// main.
struct Interrupted {
  int signal;
};

// While one lives, those signals are blocked and wait to be asked for, so that children and temporary files
// can be cleared away first. One at a time, in a process with one thread.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  int fd() const { return fd_.get(); }  // readable when one is there
  void check() const;                   // throws Interrupted

 private:
  Fd fd_;
};

struct Command {
  std::string executable;              // absolute path
  std::vector<std::string> arguments;  // without argv[0]
  std::vector<std::string> environment;
};

// Runs commands one after the other with their output appended to a log file.
class CommandRunner {
 public:
  // `session` is the setsid program: each command gets its own session, by which all it has started is found,
  // and cannot reach the user's terminal. onWait is called about five times a second.
  CommandRunner(std::string session, const std::string& logPath, const Interrupts& interrupts,
                std::function<void()> onWait);

  // Returns when the command and everything it has started have ended. Throws Error "build-failed" with the
  // wait status and the log's last 20 lines; Interrupted, after killing all of them.
  void run(const Command& command);

 private:
  std::string session_;
  std::string logPath_;
  Fd log_;
  const Interrupts& interrupts_;
  std::function<void()> onWait_;
};

// The last `lines` lines of a text, each at most 400 bytes.
std::string lastLines(const std::string& content, size_t lines);

}  // namespace ktstr::kbuild
