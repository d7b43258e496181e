#include "orchestrator/phases.h"

#include <cstdio>

#include "protocol/fd.h"

namespace ktstr {

Phases::Phases(bool terminal) : terminal_(terminal), start_(monotonicNs()) {}

Phases::~Phases() {
  clearLine();
}

double Phases::elapsedMs() const {
  return static_cast<double>(monotonicNs() - start_) / 1e6;
}

void Phases::begin(const std::string& name) {
  end();
  current_ = name;
  phases_.push_back({name, elapsedMs(), 0});
  refresh();
}

void Phases::end() {
  if (current_.empty()) return;
  phases_.back().durationMs = elapsedMs() - phases_.back().startMs;
  current_.clear();
}

void Phases::refresh() {
  if (!terminal_ || current_.empty()) return;
  const double now = elapsedMs();
  fprintf(stderr, "\r\033[K[%5.1f s] %s (%.1f s)", now / 1e3, current_.c_str(),
          (now - phases_.back().startMs) / 1e3);
  fflush(stderr);
  lineShown_ = true;
}

void Phases::clearLine() {
  if (!lineShown_) return;
  fputs("\r\033[K", stderr);
  fflush(stderr);
  lineShown_ = false;
}

}  // namespace ktstr
