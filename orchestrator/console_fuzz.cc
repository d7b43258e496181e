#include <cstdint>
#include <cstdlib>

#include "orchestrator/console.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view raw(reinterpret_cast<const char*>(data), size);
  const std::string clean = ktstr::cleanText(raw);
  for (const char c : clean) {
    if ((c >= 0 && c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) abort();
  }
  if (ktstr::cleanText(clean) != clean) abort();
  const ktstr::ConsoleReport report = ktstr::classifyConsole(raw);
  if (report.tail.size() > 12 || report.panicLines.size() > 24 || report.oopses.size() > 16) abort();
  return 0;
}
