#include "monitor/guest_mem.h"

#include <algorithm>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

GuestMem::GuestMem(std::vector<MemRegion> regions) : regions_(std::move(regions)) {
  const auto refuse = [](const std::string& why) {
    throw Error(ExitCode::infrastructure, "regions-invalid", why,
                "the VMM must describe guest RAM correctly");
  };
  std::sort(regions_.begin(), regions_.end(), [](auto& a, auto& b) { return a.gpa < b.gpa; });
  if (regions_.empty()) refuse("guest memory has no region");
  uint64_t end = 0;
  for (const auto& region : regions_) {
    if (region.size == 0 || region.gpa + region.size < region.gpa) {
      refuse(text("region at ", hex(region.gpa), " has size ", hex(region.size)));
    }
    if (region.gpa < end)
      refuse(text("region at ", hex(region.gpa), " overlaps one that ends at ", hex(end)));
    end = region.gpa + region.size;
  }
}

const MemRegion* GuestMem::find(uint64_t gpa) const {
  auto after =
      std::upper_bound(regions_.begin(), regions_.end(), gpa,
                       [](uint64_t address, const MemRegion& region) { return address < region.gpa; });
  if (after == regions_.begin()) return nullptr;
  const MemRegion& region = *(after - 1);
  return gpa - region.gpa < region.size ? &region : nullptr;
}

std::optional<std::span<const std::byte>> GuestMem::bytes(uint64_t gpa, uint64_t size) const {
  const MemRegion* region = find(gpa);
  if (!region || size == 0 || size > region->size - (gpa - region->gpa)) return std::nullopt;
  return std::span(region->data + (gpa - region->gpa), size);
}

std::span<const std::byte> GuestMem::bytesUpTo(uint64_t gpa, uint64_t limit) const {
  const MemRegion* region = find(gpa);
  if (!region) return {};
  const uint64_t offset = gpa - region->gpa;
  return {region->data + offset, std::min(limit, region->size - offset)};
}

bool GuestMem::copy(uint64_t gpa, std::span<std::byte> out) const {
  while (!out.empty()) {
    const MemRegion* region = find(gpa);
    if (!region) return false;
    const uint64_t offset = gpa - region->gpa;
    const size_t piece = std::min<uint64_t>(out.size(), region->size - offset);
    std::memcpy(out.data(), region->data + offset, piece);
    out = out.subspan(piece);
    gpa += piece;
    if (gpa == 0 && !out.empty()) return false;
  }
  return true;
}

uint64_t GuestMem::size() const {
  uint64_t sum = 0;
  for (const auto& region : regions_) sum += region.size;
  return sum;
}

uint64_t GuestMem::end() const {
  return regions_.back().gpa + regions_.back().size;
}

}  // namespace ktstr
