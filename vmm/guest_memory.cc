#include "vmm/guest_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::vmm {
namespace {

void seal(int fd, int seals, const char* what) {
  if (fcntl(fd, F_ADD_SEALS, seals) != 0) throw errnoError("seal-failed", text("seal the ", what, " memfd"));
}

bool within(GpaSpan span, uint64_t gpa, uint64_t size) {
  return span.size > 0 && span.gpa >= gpa && span.gpa - gpa <= size && span.size <= size - (span.gpa - gpa);
}

}  // namespace

std::string describe(GpaSpan span) {
  return text(span.size, " bytes at ", hex(span.gpa));
}

MemoryFacts memoryFacts(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) throw errnoError("memory-invalid", "stat the memory object");
  if (!S_ISREG(status.st_mode)) {
    throw Error(
        ExitCode::infrastructure, "memory-invalid",
        text("the descriptor has file mode ", hex(status.st_mode), ", must be a memfd or a regular file"));
  }
  const int seals = fcntl(fd, F_GET_SEALS);
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) throw errnoError("memory-invalid", "get the access mode of the memory object");
  MemoryFacts facts;
  facts.size = static_cast<uint64_t>(status.st_size);
  if (seals >= 0) facts.seals = static_cast<unsigned>(seals);
  facts.writable = (flags & O_ACCMODE) != O_RDONLY;
  return facts;
}

void sealRam(int fd) {
  seal(fd, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, "RAM");
}

void sealMailbox(int fd) {
  seal(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, "mailbox");
}

GuestRam::GuestRam(int ram, std::vector<Region> regions)
    : regions_(std::move(regions)),
      mapping_(ram, 0, regions_.back().offset + regions_.back().size, PROT_READ | PROT_WRITE) {}

bool GuestRam::contains(GpaSpan span) const {
  return std::any_of(regions_.begin(), regions_.end(),
                     [span](const Region& region) { return within(span, region.gpa, region.size); });
}

void GuestRam::checkRanges(std::span<const GpaSpan> ranges) const {
  if (ranges.size() > kMaxGateRanges) {
    throw Error(ExitCode::infrastructure, "gate-range-invalid",
                text(ranges.size(), " ranges, must be at most ", kMaxGateRanges));
  }
  for (const GpaSpan range : ranges) {
    if (contains(range)) continue;
    throw Error(ExitCode::infrastructure, "gate-range-invalid",
                describe(range) + " do not lie in one region of RAM");
  }
}

void GuestRam::write(uint64_t gpa, std::span<const std::byte> bytes, std::span<const GpaSpan> granted) {
  const GpaSpan target{gpa, bytes.size()};
  const bool inside = std::any_of(granted.begin(), granted.end(),
                                  [&](GpaSpan range) { return within(target, range.gpa, range.size); });
  if (!inside || bytes.size() > kMaxGateWrite) {
    throw Error(ExitCode::infrastructure, "gate-refused",
                inside ? text(describe(target), ": at most ", kMaxGateWrite, " bytes a call")
                       : describe(target) + " are not inside a range granted to this gate");
  }
  for (const Region& region : regions_) {
    if (!within(target, region.gpa, region.size)) continue;
    memcpy(mapping_.data() + region.offset + (gpa - region.gpa), bytes.data(), bytes.size());
    return;
  }
}

}  // namespace ktstr::vmm
