#include "guest/agent/scheduler_log.h"

#include <algorithm>
#include <cstdint>

#include "protocol/text.h"

namespace ktstr::agent {
namespace {

// Length of the UTF-8 sequence at the beginning of `bytes` (RFC 3629), 0 if it is none.
size_t sequenceLength(std::string_view bytes) {
  const auto at = [&](size_t i) { return i < bytes.size() ? static_cast<uint8_t>(bytes[i]) : uint8_t{0}; };
  const auto follows = [&](size_t count) {
    for (size_t i = 1; i <= count; i++) {
      if ((at(i) & 0xc0) != 0x80) return size_t{0};
    }
    return count + 1;
  };
  const uint8_t first = at(0);
  if (first == 0) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1);
  if (first == 0xe0 && at(1) < 0xa0) return 0;
  if (first == 0xed && at(1) > 0x9f) return 0;
  if (first >= 0xe0 && first <= 0xef) return follows(2);
  if (first == 0xf0 && at(1) < 0x90) return 0;
  if (first == 0xf4 && at(1) > 0x8f) return 0;
  if (first >= 0xf0 && first <= 0xf4) return follows(3);
  return 0;
}

constexpr size_t firstBytes = 256, lastBytes = 1024;

void keepLast(std::string& text, size_t bytes) {
  if (text.size() > bytes) text.erase(0, text.size() - bytes);
}

}  // namespace

std::string toUtf8(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const size_t length = sequenceLength(bytes);
    length == 0 ? out.append("\xef\xbf\xbd") : out.append(bytes.substr(0, length));
    bytes.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

void SchedulerLog::pass(size_t count) {
  sink_(toUtf8(std::string_view(pending_).substr(0, count)));
  pending_.erase(0, count);
  passed_ += count;
}

void SchedulerLog::feed(std::string_view bytes) {
  total_ += bytes.size();
  first_.append(bytes.substr(0, firstBytes - std::min(firstBytes, first_.size())));
  last_.append(bytes);
  keepLast(last_, lastBytes);
  pending_.append(bytes);
  while (!pending_.empty() && passed_ < headBytes) {
    const size_t newline = pending_.rfind('\n', pieceBytes - 1);
    if (newline == std::string::npos && pending_.size() < pieceBytes) return;
    pass(newline == std::string::npos ? pieceBytes : newline + 1);
  }
  if (pending_.size() > tailBytes) {
    leftOut_ += pending_.size() - tailBytes;
    keepLast(pending_, tailBytes);
  }
}

void SchedulerLog::finish() {
  if (leftOut_ > 0) sink_(text("[", leftOut_, " bytes left out]\n"));
  leftOut_ = 0;
  while (!pending_.empty()) {
    const size_t newline = pending_.rfind('\n', pieceBytes - 1);
    pass(newline == std::string::npos ? std::min(pending_.size(), pieceBytes) : newline + 1);
  }
}

std::string SchedulerLog::words() const {
  std::string_view tail(last_);
  while (!tail.empty() && tail.back() == '\n') tail.remove_suffix(1);
  if (total_ <= lastBytes) return toUtf8(tail);
  const size_t headEnd = std::min(first_.rfind('\n'), first_.size());
  tail.remove_prefix(std::min(tail.find('\n') + 1, tail.size()));
  return toUtf8(first_.substr(0, headEnd)) + "\n[...]\n" + toUtf8(tail);
}

}  // namespace ktstr::agent
