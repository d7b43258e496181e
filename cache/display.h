// Progress on stderr: one line that is rewritten on a terminal, a line per step otherwise.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ktstr::cache {

class Display {
 public:
  Display();
  ~Display() { clear(); }
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;

  // percent as in OnProgress.
  void progress(int percent, std::string_view what);
  void note(std::string_view line);
  // Removes the rewritten line.
  void clear();

 private:
  bool terminal_;
  bool drawn_ = false;
  std::string last_;
  uint64_t startNs_;
};

}  // namespace ktstr::cache
