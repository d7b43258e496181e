// One part of the input each for names, token table, token index and offsets; the first bytes are counts and
// lengths.
#include "monitor/kallsyms.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  struct Head {
    uint32_t count;
    uint16_t tokenBytes, offsetBytes;
    uint64_t stext, relativeBase;
  } head;
  if (size < sizeof head + 512) return 0;
  std::memcpy(&head, data, sizeof head);
  std::span<const std::byte> rest(reinterpret_cast<const std::byte*>(data) + sizeof head, size - sizeof head);
  const auto take = [&](size_t wanted) {
    const auto part = rest.first(std::min(wanted, rest.size()));
    rest = rest.subspan(part.size());
    return part;
  };
  ktstr::KallsymsSource source;
  source.count = head.count % 4096;
  source.tokenIndex = take(512);
  source.tokenTable = take(head.tokenBytes);
  source.offsets = take(head.offsetBytes);
  source.names = rest;
  source.stext = head.stext;
  if (head.relativeBase & 1) source.relativeBase = head.relativeBase;
  try {
    const auto symbols = ktstr::decodeKallsyms(source);
    const ktstr::SymbolTable table(symbols.arrays());
    for (size_t i = 0; i < table.size(); ++i) {
      if (!table.find(table.name(i))) __builtin_trap();
    }
  } catch (const ktstr::Error&) {
  }
  return 0;
}
