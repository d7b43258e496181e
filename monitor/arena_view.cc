#include "monitor/arena_view.h"

#include <algorithm>
#include <cstring>

namespace ktstr {

constexpr uint64_t pageBytes = 4096;

ArenaView::ArenaView(uint64_t start, const std::vector<MapEntry>& pages) : start_(start) {
  for (const auto& page : pages) {
    const bool isPage = page.key.size() == sizeof(uint32_t) && page.values.size() == 1 &&
                        page.values.front().bytes.size() == pageBytes;
    if (isPage) pages_[loadGuest<uint32_t>(page.key.data())] = page.values.front().bytes;
  }
}

bool ArenaView::copy(uint64_t address, std::span<std::byte> out) const {
  for (uint64_t at = address - start_; !out.empty();) {
    const auto page = pages_.find(at / pageBytes);
    const size_t piece = std::min<uint64_t>(out.size(), pageBytes - at % pageBytes);
    if (page == pages_.end()) return false;
    std::memcpy(out.data(), page->second.data() + at % pageBytes, piece);
    out = out.subspan(piece);
    at += piece;
  }
  return true;
}

}  // namespace ktstr
