// Word of a set-up that failed, from a worker to the agent.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "protocol/fd.h"

namespace ktstr::work {

inline constexpr int setupFailedCode = 125;  // what a process exits with that has left a note

// Where workers leave word of a set-up that failed, for the agent: one line each, shared memory.
class SetupNotes {
 public:
  explicit SetupNotes(uint32_t workers);
  SetupNotes(uint32_t workers, Fd file);  // those behind fd(), in a program that was executed
  void leave(uint32_t worker, const std::string& message);  // cut at 239 bytes
  std::optional<std::string> read(uint32_t worker) const;
  int fd() const { return file_.get(); }

 private:
  struct Note {
    std::atomic<uint32_t> left;
    char message[240];
  };
  Note& note(uint32_t worker) const;

  Fd file_;
  Mapping memory_;
};

}  // namespace ktstr::work
