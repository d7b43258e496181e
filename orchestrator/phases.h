// Where the time of one run goes, and the line on the terminal that shows it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ktstr {

struct PhaseTime {
  std::string name;
  double startMs;     // since the run began
  double durationMs;  // 0 while it is running
};

// Times the phases of a run, one after the other. On a terminal the current phase and its elapsed time stand
// on one line of stderr that is rewritten by refresh(); elsewhere nothing is printed.
class Phases {
 public:
  explicit Phases(bool terminal);
  ~Phases();  // clears the line

  void begin(const std::string& name);  // ends the one before
  void end();
  void refresh();
  void clearLine();

  const std::string& current() const { return current_; }
  double elapsedMs() const;  // since the run began
  const std::vector<PhaseTime>& list() const { return phases_; }

 private:
  bool terminal_;
  bool lineShown_ = false;
  uint64_t start_;
  std::string current_;
  std::vector<PhaseTime> phases_;
};

}  // namespace ktstr
