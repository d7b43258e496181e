#include "vmm/kvm/io_apic.h"

namespace ktstr::vmm {
namespace {

constexpr uint64_t kSelect = 0x00, kWindow = 0x10;      // offsets
constexpr uint8_t kVersion = 0x01, kFirstEntry = 0x10;  // registers; two for each entry
constexpr uint64_t kWritable = 0xfffe00000001afff, kMasked = 0x10000, kLogical = 0x800, kLevel = 0x8000;

}  // namespace

IoApic::IoApic(int vm) : vm_(vm) {
  entries_.fill(kMasked);
}

GsiRoutes IoApic::routesOf(std::span<const uint64_t, kIoApicLines> entries) {
  GsiRoutes routes;
  for (uint32_t line = 0; line < entries.size(); ++line) {
    const uint64_t entry = entries[line];
    if ((entry & kMasked) != 0) continue;
    kvm_irq_routing_entry& route = routes.entries[routes.count++];
    route.gsi = line;
    route.type = KVM_IRQ_ROUTING_MSI;
    route.u.msi.address_lo = static_cast<uint32_t>(0xfee00000 | entry >> 56 << 12 | (entry & kLogical) >> 9);
    route.u.msi.address_hi =
        static_cast<uint32_t>((entry >> 49 & 0x7f) << 8);                // bits 14:8 of the destination
    route.u.msi.data = static_cast<uint32_t>(entry & (kLevel | 0x7ff));  // and delivery mode, vector
  }
  return routes;
}

uint64_t* IoApic::selectedEntry() {
  const unsigned line = (selected_ - kFirstEntry) / 2u;
  return selected_ >= kFirstEntry && line < kIoApicLines ? &entries_[line] : nullptr;
}

uint32_t IoApic::read(uint64_t offset) {
  const std::lock_guard lock(mutex_);
  if (offset == kSelect) return selected_;
  if (offset != kWindow) return 0;
  if (selected_ == kVersion) return (kIoApicLines - 1) << 16 | 0x11;
  const uint64_t* entry = selectedEntry();
  return entry == nullptr ? 0 : static_cast<uint32_t>(*entry >> selected_ % 2 * 32);
}

void IoApic::write(uint64_t offset, uint32_t value) {
  const std::lock_guard lock(mutex_);
  if (offset == kSelect) selected_ = static_cast<uint8_t>(value);
  uint64_t* entry = selectedEntry();
  if (offset != kWindow || entry == nullptr) return;
  const uint64_t before = *entry;
  const unsigned shift = selected_ % 2 * 32;
  *entry = ((before & ~(uint64_t{0xffffffff} << shift)) | uint64_t{value} << shift) & kWritable;
  if (*entry == before || (*entry & before & kMasked) != 0) return;
  const GsiRoutes routes = routesOf(entries_);
  KTSTR_KVM(vm_, kSetGsiRouting, &routes);
}

}  // namespace ktstr::vmm
