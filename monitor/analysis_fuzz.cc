// A stored analysis, without its checksum being of any help.
#include <sys/mman.h>

#include <cstring>

#include "monitor/analysis.h"
#include "protocol/error.h"
#include "protocol/file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr;
  KernelLayout::fromText({reinterpret_cast<const char*>(data), size});
  if (size < sizeof(AnalysisHeader)) return 0;
  AnalysisHeader header;
  std::memcpy(&header, data, sizeof header);
  header.magic = analysisMagic;
  header.layoutTag = KernelLayout::tag();
  header.totalBytes = size;
  std::span<const std::byte> body(reinterpret_cast<const std::byte*>(data), size);
  header.checksum = analysisChecksum(std::as_bytes(std::span(&header, 1)), body.subspan(sizeof header));
  const Fd file = makeMemfd("analysis", 0);
  writeAll(file.get(), std::as_bytes(std::span(&header, 1)));
  writeAll(file.get(), body.subspan(sizeof header));
  try {
    const Analysis analysis = Analysis::load(Mapping(file.get(), 0, size, PROT_READ));
    const auto& symbols = analysis.symbols();
    for (size_t i = 0; i < symbols.size(); ++i) {
      symbols.find(symbols.name(i));
      symbols.nearest(symbols.address(i));
    }
  } catch (const Error&) {
  }
  return 0;
}
