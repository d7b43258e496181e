// What a scheduler prints, cut into events: all of the beginning at once, and the end of the rest at the end.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace ktstr::agent {

class SchedulerLog {
 public:
  static constexpr size_t headBytes = size_t{192} << 10;  // passed on as they come
  static constexpr size_t tailBytes = size_t{64} << 10;   // of what follows, kept for finish()
  static constexpr size_t pieceBytes = 4096;              // largest piece

  // `sink` gets pieces of valid UTF-8 (other bytes become U+FFFD), whole lines where they fit into one.
  explicit SchedulerLog(std::function<void(const std::string&)> sink) : sink_(std::move(sink)) {}

  void feed(std::string_view bytes);
  // No more will come: passes on the rest, after "[N bytes left out]" where some are missing.
  void finish();
  // Evidence for a message: everything, or its first lines (where a program says what it dislikes, before its
  // usage text) and its last (where one that aborts says why), about 1 KiB of valid UTF-8.
  std::string words() const;

 private:
  void pass(size_t count);

  std::function<void(const std::string&)> sink_;
  std::string pending_;       // not passed on yet
  std::string first_, last_;  // for words()
  size_t total_ = 0, passed_ = 0, leftOut_ = 0;
};

// Replaces what is not valid UTF-8 (and NUL) by U+FFFD.
std::string toUtf8(std::string_view bytes);

}  // namespace ktstr::agent
