#include "kbuild/progress.h"

#include <unistd.h>

#include <cstdio>

#include "protocol/fd.h"

namespace ktstr::kbuild {

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

// What is given up leaves no half line behind.
Progress::~Progress() {
  if (terminal_ && !name_.empty()) std::fputs("\r\033[K", stderr);
}

double Progress::seconds() const {
  return static_cast<double>(monotonicNs() - start_) / 1e9;
}

void Progress::phase(std::string name) {
  done();
  name_ = std::move(name);
  start_ = monotonicNs();
  shown_ = 0;
  tick();
}

void Progress::tick() {
  if (!terminal_ || name_.empty() || monotonicNs() - shown_ < 200'000'000) return;
  shown_ = monotonicNs();
  std::fprintf(stderr, "\r\033[K  %s %.0f s", name_.c_str(), seconds());
  std::fflush(stderr);
}

void Progress::done() {
  if (name_.empty()) return;
  std::fprintf(stderr, terminal_ ? "\r\033[K  %s: %.1f s\n" : "%s: %.1f s\n", name_.c_str(), seconds());
  name_.clear();
}

}  // namespace ktstr::kbuild
