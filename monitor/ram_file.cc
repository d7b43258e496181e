#include "monitor/ram_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t pageBytes = 4096;
constexpr size_t chunkBytes = 256 * 1024;
constexpr size_t maxRanges = 64;

std::vector<Mapping> mapAll(int fd, const std::vector<RamRange>& ranges) {
  const auto refuse = [](const std::string& why) {
    throw Error(ExitCode::infrastructure, "ram-invalid", why, "the ranges must lie inside the RAM file");
  };
  const uint64_t fileBytes = fileSize(fd);
  if (ranges.empty() || ranges.size() > maxRanges)
    refuse(text(ranges.size(), " RAM ranges; 1 to ", maxRanges));
  std::vector<Mapping> mappings;
  for (const auto& range : ranges) {
    if (range.size == 0) refuse(text("range at ", hex(range.gpa), " is empty"));
    if (range.offset > fileBytes || range.size > fileBytes - range.offset) {
      refuse(text("range at ", hex(range.gpa), " of ", hex(range.size), " bytes at file offset ",
                  hex(range.offset), " is beyond the file's ", hex(fileBytes), " bytes"));
    }
    const uint64_t inPage = range.offset % pageBytes;
    mappings.emplace_back(fd, range.offset - inPage, range.size + inPage, PROT_READ);
    madvise(mappings.back().data(), mappings.back().size(), MADV_RANDOM);
  }
  return mappings;
}

std::vector<MemRegion> regionsOf(const std::vector<RamRange>& ranges, const std::vector<Mapping>& mappings) {
  std::vector<MemRegion> regions;
  for (size_t i = 0; i < ranges.size(); ++i) {
    regions.push_back({ranges[i].gpa, ranges[i].size, mappings[i].data() + ranges[i].offset % pageBytes});
  }
  return regions;
}

// The block size of hugetlbfs is its page size. A tmpfs with huge pages says the same, but tells its holes,
// and a mapped read would fill them.
bool hasHugePages(int fd) {
  struct stat status {};
  const bool memfd = fcntl(fd, F_GET_SEALS) >= 0;
  return memfd && fstat(fd, &status) == 0 && static_cast<uint64_t>(status.st_blksize) > pageBytes &&
         lseek(fd, 0, SEEK_HOLE) == status.st_size;
}

}  // namespace

std::vector<RamRange> modelRamLayout(uint64_t bytes) {
  constexpr uint64_t lowLimit = uint64_t{2} << 30, highBase = uint64_t{4} << 30;
  std::vector<RamRange> ranges{{0, std::min(bytes, lowLimit), 0}};
  if (bytes > lowLimit) ranges.push_back({highBase, bytes - lowLimit, lowLimit});
  return ranges;
}

RamFile::RamFile(Fd fd, std::vector<RamRange> ranges)
    : fd_(std::move(fd)),
      ranges_(std::move(ranges)),
      hugePages_(hasHugePages(fd_.get())),
      mappings_(mapAll(fd_.get(), ranges_)),
      memory_(regionsOf(ranges_, mappings_)) {}

bool RamFile::sealed() const {
  const int seals = fcntl(fd_.get(), F_GET_SEALS);
  return seals >= 0 && (seals & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE));
}

bool RamFile::peek(uint64_t gpa, std::span<std::byte> out) const {
  for (const auto& range : ranges_) {
    if (gpa < range.gpa || gpa - range.gpa >= range.size) continue;
    const uint64_t inRange = gpa - range.gpa;
    if (out.size() > range.size - inRange) return false;
    const auto position = static_cast<off_t>(range.offset + inRange);
    return pread(fd_.get(), out.data(), out.size(), position) == static_cast<ssize_t>(out.size());
  }
  return false;
}

void RamFile::scan(const std::function<bool(uint64_t, std::span<const std::byte>)>& visit) const {
  if (hugePages_) {
    for (size_t i = 0; i < ranges_.size(); ++i) {
      if (!scanMapping(i, visit)) return;
    }
    return;
  }
  for (const auto& range : ranges_) {
    const auto end = static_cast<off_t>(range.offset + range.size);
    auto at = static_cast<off_t>(range.offset);
    while (at < end) {
      const off_t data = lseek(fd_.get(), at, SEEK_DATA);
      if (data < 0 || data >= end) break;
      const off_t hole = lseek(fd_.get(), data, SEEK_HOLE);
      if (hole <= data) break;
      if (!scanExtent(range, static_cast<uint64_t>(data), static_cast<uint64_t>(std::min(hole, end)),
                      visit)) {
        return;
      }
      at = hole;
    }
  }
}

bool RamFile::scanMapping(size_t range,
                          const std::function<bool(uint64_t, std::span<const std::byte>)>& visit) const {
  const RamRange& bytes = ranges_[range];
  const std::span all(mappings_[range].data() + bytes.offset % pageBytes, bytes.size);
  for (size_t at = 0; at < all.size(); at += chunkBytes) {
    if (!visit(bytes.gpa + at, all.subspan(at, std::min(chunkBytes, all.size() - at)))) return false;
  }
  return true;
}

bool RamFile::scanExtent(const RamRange& range, uint64_t begin, uint64_t end,
                         const std::function<bool(uint64_t, std::span<const std::byte>)>& visit) const {
  std::vector<std::byte> chunk(std::min<uint64_t>(chunkBytes, end - begin));
  begin -= std::min((range.gpa + begin - range.offset) % pageBytes, begin - range.offset);
  while (begin < end) {
    const auto got = pread(fd_.get(), chunk.data(), std::min<uint64_t>(chunk.size(), end - begin),
                           static_cast<off_t>(begin));
    if (got <= 0) return true;
    const auto size = static_cast<size_t>(got);
    if (!visit(range.gpa + (begin - range.offset), std::span(chunk).first(size))) return false;
    begin += size;
  }
  return true;
}

void RamFile::releasePages() const {
  for (const auto& mapping : mappings_) madvise(mapping.data(), mapping.size(), MADV_DONTNEED);
}

}  // namespace ktstr
