#include "monitor/kernel.h"

#include <algorithm>

#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t pageBytes = 4096;

// __PAGE_OFFSET_BASE_L4 and _L5, arch/x86/include/asm/page_64_types.h
uint64_t defaultPageOffset(unsigned levels) {
  return levels == 5 ? 0xff11'0000'0000'0000 : 0xffff'8880'0000'0000;
}

}  // namespace

GuestKernel::GuestKernel(const GuestMem& memory, const SymbolTable& symbols, const KernelPlace& place)
    : memory_(memory),
      symbols_(symbols),
      place_(place),
      pageOffset_(defaultPageOffset(place.tables.levels)),
      perCpuOffsets_(symbol("__per_cpu_offset")) {
  const auto base = readSymbol<uint64_t>("page_offset_base");
  if (base && *base >> 63 && *base % pageBytes == 0) pageOffset_ = *base;
}

std::optional<uint64_t> GuestKernel::symbol(std::string_view name) const {
  const auto link = symbols_.find(name);
  if (!link) return std::nullopt;
  return *link >= kernelMapBase ? *link + place_.slide : *link;
}

std::optional<std::string> GuestKernel::symbolAt(uint64_t va) const {
  if (!place_.imageGpa(va)) return std::nullopt;
  const auto nearest = symbols_.nearest(va - place_.slide);
  if (!nearest || nearest->name.empty()) return std::nullopt;
  return nearest->offset == 0 ? std::string(nearest->name) : text(nearest->name, "+", hex(nearest->offset));
}

std::optional<uint64_t> GuestKernel::translate(uint64_t va) const {
  if (const auto gpa = place_.imageGpa(va)) {
    if (memory_.bytes(*gpa, 1)) return gpa;
  } else if (va >= pageOffset_ && memory_.bytes(va - pageOffset_, 1)) {
    return va - pageOffset_;
  }
  return walkPages(memory_, place_.tables, va);
}

const std::byte* GuestKernel::at(uint64_t va, uint64_t size) const {
  if (size == 0 || va + size < va) return nullptr;
  if (va >= pageOffset_ && !place_.imageGpa(va)) {  // the direct map has all RAM in one piece
    if (const auto view = memory_.bytes(va - pageOffset_, size)) return view->data();
  }
  const auto gpa = translate(va);
  const auto view = gpa ? memory_.bytes(*gpa, size) : std::nullopt;
  if (!view) return nullptr;
  for (uint64_t next = (va / pageBytes + 1) * pageBytes; next - va < size; next += pageBytes) {
    if (translate(next) != *gpa + (next - va)) return nullptr;
  }
  return view->data();
}

bool GuestKernel::copy(uint64_t va, std::span<std::byte> out) const {
  while (!out.empty()) {
    const size_t piece = std::min<uint64_t>(out.size(), pageBytes - va % pageBytes);
    const auto gpa = translate(va);
    if (!gpa || !memory_.copy(*gpa, out.first(piece))) return false;
    out = out.subspan(piece);
    va += piece;
  }
  return true;
}

std::optional<std::string> GuestKernel::string(uint64_t va, size_t limit) const {
  std::string result;
  while (result.size() < limit) {
    const size_t piece = std::min<uint64_t>(limit - result.size(), pageBytes - va % pageBytes);
    std::string part(piece, '\0');
    if (!copy(va, std::as_writable_bytes(std::span(part)))) return std::nullopt;
    const auto end = part.find('\0');
    if (end != std::string::npos) return result.append(part, 0, end);
    result += part;
    va += piece;
  }
  return std::nullopt;
}

std::optional<uint64_t> GuestKernel::perCpu(uint64_t variable, uint32_t cpu) const {
  const auto offset = perCpuOffsets_ && cpu < maxGuestCpus
                          ? read<uint64_t>(*perCpuOffsets_ + uint64_t{8} * cpu)
                          : std::nullopt;
  if (!offset || *offset == 0) return std::nullopt;
  return variable + *offset;
}

std::vector<uint32_t> GuestKernel::possibleCpus() const {
  const auto mask = symbol("__cpu_possible_mask");
  const auto limit = std::min(readSymbol<uint32_t>("nr_cpu_ids").value_or(maxGuestCpus), maxGuestCpus);
  std::vector<uint32_t> cpus;
  if (!mask) return cpus;
  for (uint32_t word = 0; word * 64 < limit; ++word) {
    const auto bits = read<uint64_t>(*mask + uint64_t{8} * word).value_or(0);
    for (uint32_t bit = 0; bit < 64 && word * 64 + bit < limit; ++bit) {
      if (bits >> bit & 1) cpus.push_back(word * 64 + bit);
    }
  }
  return cpus;
}

}  // namespace ktstr
