#include "monitor/analysis.h"

#include <cstring>
#include <iomanip>
#include <sstream>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ExitCode::infrastructure, "analysis-invalid", why,
              "the stored analysis is damaged; it is not used");
}

constexpr size_t checksumBegin = offsetof(AnalysisHeader, totalBytes);
static_assert(sizeof(AnalysisHeader) % 8 == 0 && checksumBegin % 8 == 0);

uint64_t aligned(uint64_t size) {
  return (size + 7) & ~uint64_t{7};
}

// Continues a checksum over bytes, taken as zero padded to 8.
uint64_t checksum(uint64_t hash, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    uint64_t word = 0;
    const size_t piece = std::min<size_t>(8, bytes.size());
    std::memcpy(&word, bytes.data(), piece);
    hash = (hash ^ word) * 0x9e37'79b9'7f4a'7c15;
    hash ^= hash >> 29;
    bytes = bytes.subspan(piece);
  }
  return hash;
}

template <typename T>
std::span<const std::byte> bytesOf(const T& range) {
  return std::as_bytes(std::span(range.data(), range.size()));
}

template <typename T>
std::span<const T> arrayOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

std::string_view textOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The header of a mapped analysis, all of whose sections lie inside it.
AnalysisHeader checkedHeader(std::span<const std::byte> bytes) {
  AnalysisHeader header;
  if (bytes.size() < sizeof header) refuse(text("only ", bytes.size(), " bytes"));
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != analysisMagic) refuse(text("magic number ", hex(header.magic)));
  if (header.totalBytes != bytes.size())
    refuse(text(bytes.size(), " bytes; the header says ", header.totalBytes));
  for (const auto& place : header.sections) {
    if (place.offset % 8 != 0 || place.offset > bytes.size() || place.size > bytes.size() - place.offset) {
      refuse(text("section at ", place.offset, " of ", place.size, " bytes is outside"));
    }
  }
  if (analysisChecksum(bytes.first(sizeof header), bytes.subspan(sizeof header)) != header.checksum)
    refuse("wrong checksum");
  return header;
}

}  // namespace

uint64_t analysisChecksum(std::span<const std::byte> header, std::span<const std::byte> body) {
  return checksum(checksum(0, header.subspan(checksumBegin)), body);
}

Analysis::Analysis(SymbolStorage storage, Facts facts)
    : storage_(std::make_unique<SymbolStorage>(std::move(storage))),
      symbols_(storage_->arrays()),
      facts_(std::move(facts)) {}

Analysis Analysis::load(Mapping mapping) {
  const std::span<const std::byte> bytes = mapping.bytes();
  const auto header = checkedHeader(bytes);
  if (header.layoutTag != KernelLayout::tag()) {
    throw Error(ExitCode::infrastructure, "analysis-outdated", "made by another version of this program",
                "it is made again");
  }
  const auto section = [&](AnalysisSection which) {
    return bytes.subspan(header.sections[which].offset, header.sections[which].size);
  };
  const auto layout = KernelLayout::fromText(textOf(section(layoutSection)));
  if (!layout) refuse("the layout text is malformed");
  Analysis analysis;
  analysis.facts_ = {std::string(textOf(section(buildIdSection))),
                     std::string(textOf(section(releaseSection))),
                     std::string(textOf(section(bannerSection))), header.btfBytes, *layout};
  analysis.symbols_ =
      SymbolTable({arrayOf<uint64_t>(section(addressSection)), arrayOf<uint32_t>(section(nameOffsetSection)),
                   arrayOf<char>(section(typeSection)), arrayOf<uint32_t>(section(slotSection)),
                   textOf(section(nameSection))});
  if (analysis.symbols_.size() == 0) refuse("no symbols");
  analysis.mapping_ = std::move(mapping);
  return analysis;
}

std::array<std::span<const std::byte>, analysisSections> Analysis::sections(
    const std::string& layoutText) const {
  const auto& arrays = symbols_.arrays();
  std::array<std::span<const std::byte>, analysisSections> result;
  result[addressSection] = bytesOf(arrays.addresses);
  result[nameOffsetSection] = bytesOf(arrays.nameOffsets);
  result[typeSection] = bytesOf(arrays.types);
  result[slotSection] = bytesOf(arrays.slots);
  result[nameSection] = bytesOf(arrays.names);
  result[buildIdSection] = bytesOf(facts_.buildId);
  result[releaseSection] = bytesOf(facts_.release);
  result[bannerSection] = bytesOf(facts_.banner);
  result[layoutSection] = bytesOf(layoutText);
  return result;
}

void Analysis::write(int fd) const {
  const auto layoutText = facts_.layout.toText();
  const auto parts = sections(layoutText);
  AnalysisHeader header{analysisMagic, KernelLayout::tag(), 0, sizeof(AnalysisHeader), facts_.btfBytes, {}};
  for (size_t i = 0; i < parts.size(); ++i) {
    header.sections[i] = {header.totalBytes, parts[i].size()};
    header.totalBytes += aligned(parts[i].size());
  }
  if (header.totalBytes > maxAnalysisBytes) {
    throw Error(ExitCode::infrastructure, "analysis-too-large",
                text(header.totalBytes, " bytes; at most ", maxAnalysisBytes), "it is not stored");
  }
  header.checksum = checksum(0, std::as_bytes(std::span(&header, 1)).subspan(checksumBegin));
  for (const auto& part : parts) header.checksum = checksum(header.checksum, part);

  writeAll(fd, std::as_bytes(std::span(&header, 1)));
  constexpr std::array<std::byte, 8> padding{};
  for (const auto& part : parts) {
    writeAll(fd, part);
    writeAll(fd, std::span(padding).first(aligned(part.size()) - part.size()));
  }
}

std::string Analysis::storeKey(const std::string& buildId) {
  std::ostringstream key;
  key << buildId << std::hex << std::setw(8) << std::setfill('0')
      << ((KernelLayout::tag() ^ analysisMagic) & 0xffff'ffff);
  return key.str();
}

}  // namespace ktstr
