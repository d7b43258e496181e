// Telling a person how far a long command is, and machines nothing they have to parse.
#pragma once

#include <cstdint>
#include <string>

namespace ktstr::kbuild {

// Writes to stderr: on a terminal one line that is rewritten ("building schedulers 12 s"), otherwise one
// plain line when a phase is over ("building schedulers: 24.1 s").
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void phase(std::string name);  // ends the one before
  void tick();                   // cheap; rewrites the line at most five times a second
  void done();                   // ends the last one

 private:
  double seconds() const;

  bool terminal_;
  std::string name_;
  uint64_t start_ = 0;
  uint64_t shown_ = 0;
};

}  // namespace ktstr::kbuild
