#include "monitor/finder.h"

#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t pageBytes = 4096, textAlign = uint64_t{2} << 20;
constexpr size_t noteOffset = 24;  // Elf64_Nhdr and "VMCOREINFO", padded
constexpr unsigned maxCandidates = 64;

// Is it true what a VMCOREINFO says?
FoundKernel verify(const GuestMem& memory, Vmcoreinfo info) {
  KernelPlace place{info.slide, info.physBase, {}, info.imageSize.value_or(uint64_t{1} << 30)};
  const auto root = place.imageGpa(info.swapperPgDir), text = place.imageGpa(info.stext);
  if (!root || !text) return {{}, {}, "VMCOREINFO names addresses outside the kernel image"};
  const auto tables = probePageTables(memory, *root, info.stext, *text);
  if (!tables) return {{}, {}, "the page tables that VMCOREINFO names do not map _stext"};
  if (info.levels && *info.levels != tables->levels) {
    return {{}, {}, "VMCOREINFO and the page tables differ in the number of levels"};
  }
  place.tables = *tables;
  return {place, std::move(info), {}};
}

// The symbols that finding a known kernel needs, as offsets from _text.
struct Anchors {
  uint64_t text, banner, physBase, pageTables;
};

std::optional<Anchors> anchorsOf(const SymbolTable& symbols) {
  const auto text = symbols.find("_text"), banner = symbols.find("linux_banner"),
             physBase = symbols.find("phys_base");
  auto pageTables = symbols.find("init_top_pgt");
  if (!pageTables) pageTables = symbols.find("swapper_pg_dir");
  if (!text || !banner || !physBase || !pageTables) return std::nullopt;
  return Anchors{*text, *banner - *text, *physBase - *text, *pageTables - *text};
}

std::optional<KernelPlace> placeAt(const RamFile& ram, const Anchors& anchors, uint64_t textGpa) {
  const auto physBase = ram.memory().read<uint64_t>(textGpa + anchors.physBase);
  if (!physBase) return std::nullopt;
  KernelPlace place;
  place.physBase = *physBase;
  place.slide = textGpa - *physBase + kernelMapBase - anchors.text;
  if (place.slide % textAlign != 0 || place.slide >= place.imageBytes) return std::nullopt;
  const auto tables =
      probePageTables(ram.memory(), textGpa + anchors.pageTables, anchors.text + place.slide, textGpa);
  if (!tables) return std::nullopt;
  place.tables = *tables;
  return place;
}

}  // namespace

std::optional<uint64_t> KernelPlace::imageGpa(uint64_t va) const {
  if (va < kernelMapBase || va - kernelMapBase >= imageBytes) return std::nullopt;
  return va - kernelMapBase + physBase;
}

std::optional<PageTables> probePageTables(const GuestMem& memory, uint64_t root, uint64_t va, uint64_t gpa) {
  for (const unsigned levels : {5u, 4u}) {
    const PageTables tables{root, levels};
    if (walkPages(memory, tables, va) == gpa) return tables;
  }
  return std::nullopt;
}

FoundKernel findByVmcoreinfo(const RamFile& ram) {
  FoundKernel found;
  found.problem = "no VMCOREINFO in guest memory";
  unsigned candidates = 0;
  const auto look = [&](std::span<const std::byte> bytes) {
    const std::string_view start(reinterpret_cast<const char*>(bytes.data()), vmcoreinfoStart.size());
    if (start != vmcoreinfoStart) return;
    ++candidates;
    const std::string content(reinterpret_cast<const char*>(bytes.data()), bytes.size());  // it may change
    auto parsed = parseVmcoreinfo(content);
    auto verified = parsed.info ? verify(ram.memory(), std::move(*parsed.info))
                                : FoundKernel{{}, {}, text("VMCOREINFO: ", parsed.problem)};
    if (verified.place || candidates == 1) found = std::move(verified);
  };
  ram.scan([&](uint64_t, std::span<const std::byte> chunk) {
    for (size_t at = 0; at + pageBytes <= chunk.size() && !found.place && candidates < maxCandidates;
         at += pageBytes) {
      look(chunk.subspan(at, pageBytes));
      look(chunk.subspan(at + noteOffset, pageBytes - noteOffset));
    }
    return !found.place && candidates < maxCandidates;
  });
  return found;
}

FoundKernel findByBanner(const RamFile& ram, const Analysis& analysis) {
  const auto anchors = anchorsOf(analysis.symbols());
  const std::string& banner = analysis.facts().banner;
  if (!anchors || banner.empty())
    return {{}, {}, "the stored analysis lacks the symbols to find its kernel by"};
  std::vector<std::byte> seen(banner.size());
  for (const auto& region : ram.memory().regions()) {
    const uint64_t first = (region.gpa + textAlign - 1) / textAlign * textAlign;
    for (uint64_t gpa = first; gpa - region.gpa < region.size; gpa += textAlign) {
      if (!ram.peek(gpa + anchors->banner, seen)) continue;
      if (std::memcmp(seen.data(), banner.data(), seen.size()) != 0) continue;
      if (const auto place = placeAt(ram, *anchors, gpa)) return {place, {}, {}};
    }
  }
  return {{}, {}, text("kernel ", analysis.facts().release, " is not in guest memory")};
}

}  // namespace ktstr
