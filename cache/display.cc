#include "cache/display.h"

#include <unistd.h>

#include <cstdio>

#include "protocol/fd.h"
#include "protocol/text.h"

namespace ktstr::cache {

Display::Display() : terminal_(isatty(2) == 1), startNs_(monotonicNs()) {}

void Display::progress(int percent, std::string_view what) {
  if (!terminal_) {
    if (what != last_) note(what);
    last_ = what;
    return;
  }
  const uint64_t seconds = (monotonicNs() - startNs_) / 1'000'000'000;
  const std::string share = percent < 0 ? "    " : text(percent, "%");
  // A line that wraps could not be rewritten.
  fprintf(stderr, "\r\033[K%4s %4llus  %.60s", share.c_str(), static_cast<unsigned long long>(seconds),
          std::string(what).c_str());
  drawn_ = true;
}

void Display::note(std::string_view line) {
  clear();
  fprintf(stderr, "ktstr kernel: %.*s\n", static_cast<int>(line.size()), line.data());
}

void Display::clear() {
  if (drawn_) fputs("\r\033[K", stderr);
  drawn_ = false;
}

}  // namespace ktstr::cache
