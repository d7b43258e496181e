// Runs the built executables as a user would, and looks at what they say and leave behind.
#pragma once

#include <capnp/message.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "protocol/record.capnp.h"

namespace ktstr::testing {

struct Result {
  int exitCode = -1;  // 128 + signal if it was killed
  std::string out;
  std::string err;
  double seconds = 0;
};

struct Options {
  std::vector<std::string> environment = {};  // NAME=value, added to ours
  std::string input = {};
  const char* program = "ktstr";  // of the built executables
  int timeoutSeconds = 120;       // then it is killed and the test fails
};

// A private directory that is removed at the end of the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::string& path() const { return path_; }
  // Writes a file and returns its path.
  std::string file(const std::string& name, const std::string& content, unsigned mode = 0644) const;

 private:
  std::string path_;
};

// The path of a built executable ($KTSTR_BIN_DIR).
std::string binary(const std::string& name);

// Runs `ktstr` (or options.program) with the given words to its end; again, at most twice, if the record says
// that QEMU spoiled it (stale-breakpoint).
Result ktstr(const std::vector<std::string>& words, const Options& options = {});

// The same in the background, for signals and kills.
class Background {
 public:
  Background(const std::vector<std::string>& words, const Options& options = {});
  ~Background();
  pid_t pid() const { return pid_; }
  void signal(int number) const;
  // Waits until stderr, stdout or a file of the run contains `text`; false after `seconds`.
  bool waitForStderr(const std::string& text, double seconds);
  Result wait(int seconds = 120);

 private:
  pid_t pid_ = -1;
  std::string directory_;
};

// A record printed by --format jsonl.
struct Record {
  explicit Record(const std::string& json);
  rpc::RunRecord::Reader operator*() const { return message->getRoot<rpc::RunRecord>().asReader(); }
  const rpc::RunRecord::Reader* operator->() const;
  bool hasFinding(const std::string& name) const;
  std::string findings() const;  // "name: message" lines, for failure messages
  // Names of the snapshots that are stored and were made for this, in order.
  std::vector<std::string> snapshots(rpc::DumpReason reason) const;

  // Why the run shows nothing, neither of ktstr nor of a scheduler: the host starved the machine, or what
  // emulates it lost a timer. RCU says so, too, when it waits for neither a CPU nor a task.
  std::optional<std::string> trouble() const;

  std::unique_ptr<capnp::MallocMessageBuilder> message;
  mutable rpc::RunRecord::Reader reader;
};

// Path of a shipped scenario.
std::string scenario(const std::string& name);

// Why a test that boots `kernel` cannot run here ("no network and not cached: ..."), or nothing.
std::optional<std::string> whyNoKernel(const std::string& kernel);
// The same for one of the kernel tree's schedulers.
std::optional<std::string> whyNoScheduler(const std::string& name);

// tests/schedulers/scx_fault, built once: its path. Throws std::runtime_error if our sources are wrong; what
// the host lacks to build it is a reason to skip.
std::string scxFault();
std::optional<std::string> whyNoScxFault();

// Descendants of this process that are still alive, as "pid comm" lines: after a run there must be none.
std::vector<std::string> descendants();

}  // namespace ktstr::testing

// A verdict that is the host's or the emulator's doing proves nothing either way: such a test is skipped, by
// name.
#define KTSTR_EXPECT_PASS(record)                \
  if (const auto trouble = (record).trouble()) { \
    GTEST_SKIP() << *trouble;                    \
  }                                              \
  EXPECT_EQ((record)->getVerdict().getOutcome(), rpc::Outcome::PASS) << (record).findings()

#define KTSTR_NEED_KERNEL(kernel)                         \
  if (auto why = ::ktstr::testing::whyNoKernel(kernel)) { \
    GTEST_SKIP() << *why;                                 \
  }
#define KTSTR_NEED_SCHEDULER(name)                         \
  if (auto why = ::ktstr::testing::whyNoScheduler(name)) { \
    GTEST_SKIP() << *why;                                  \
  }
#define KTSTR_NEED_SCX_FAULT()                        \
  if (auto why = ::ktstr::testing::whyNoScxFault()) { \
    GTEST_SKIP() << *why;                             \
  }
