// What is worth keeping of one kernel build: its symbols and the layout of the types we use, in link
// addresses, so that it fits every boot of that build. Made by a cold attach, stored by build id, mapped by
// the next attach.
//
// The stored form is little endian: AnalysisHeader, then its sections, each aligned to 8 bytes. It is foreign
// when it comes back: load() checks sizes, bounds and the checksum, and all later accesses check the indices
// they use.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "monitor/kernel_layout.h"
#include "monitor/symbol_table.h"
#include "protocol/fd.h"

namespace ktstr {

inline constexpr uint64_t analysisMagic = 0x31304e41'54534b00;  // "\0KSTAN01"
inline constexpr uint64_t maxAnalysisBytes = uint64_t{64} << 20;

enum AnalysisSection {
  addressSection,
  nameOffsetSection,
  typeSection,
  slotSection,
  nameSection,
  buildIdSection,
  releaseSection,
  bannerSection,
  layoutSection,
  analysisSections
};

struct AnalysisHeader {
  uint64_t magic;
  uint64_t layoutTag;  // KernelLayout::tag()
  uint64_t checksum;   // of everything after this member
  uint64_t totalBytes;
  uint64_t btfBytes;
  struct Place {
    uint64_t offset, size;  // bytes
  };
  std::array<Place, analysisSections> sections;
};

// The checksum of a header (its members after `checksum`) and what follows it.
uint64_t analysisChecksum(std::span<const std::byte> header, std::span<const std::byte> body);

class Analysis {
 public:
  struct Facts {
    std::string buildId;  // hex, may be empty
    std::string release;  // uname -r
    std::string banner;   // linux_banner, whole
    uint64_t btfBytes = 0;
    KernelLayout layout;
  };
  // `storage` is indexed.
  Analysis(SymbolStorage storage, Facts facts);

  // Keeps the mapping. Throws Error "analysis-invalid" saying what is wrong, "analysis-outdated" if it was
  // made by a version of this program that looked for other things.
  static Analysis load(Mapping mapping);

  // Writes the stored form to an empty file. Throws "write-failed", "analysis-too-large".
  void write(int fd) const;

  // What an AnalysisStore is asked for: the build id with eight more hex digits that stand for this program's
  // format, so that another version neither reads nor blocks ours.
  static std::string storeKey(const std::string& buildId);

  const SymbolTable& symbols() const { return symbols_; }
  const Facts& facts() const { return facts_; }
  const KernelLayout& layout() const { return facts_.layout; }

 private:
  Analysis() = default;
  std::array<std::span<const std::byte>, analysisSections> sections(const std::string& layoutText) const;

  std::unique_ptr<SymbolStorage> storage_;
  Mapping mapping_;
  SymbolTable symbols_;
  Facts facts_;
};

}  // namespace ktstr
