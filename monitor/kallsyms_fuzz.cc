// The input is names and offsets; a `_stext` before them that fits lets the decoder get past its first
// checks. The token table is the identity, or comes from the input as well.
#include <string>

#include "monitor/kallsyms.h"
#include "protocol/error.h"

namespace {

std::span<const std::byte> bytesOf(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint64_t address = 0xffff'ffff'8100'0000;
  if (size < 4) return 0;
  const uint8_t count = data[0], flags = data[1];
  std::string rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto take = [&](size_t wanted) {
    auto part = rest.substr(0, wanted);
    rest.erase(0, part.size());
    return part;
  };
  std::string index, tokens;
  if (flags & 1) {
    index = take(512);
    tokens = take(1024);
  } else {
    for (unsigned i = 0; i < 256; ++i) {
      index += {static_cast<char>(tokens.size()), static_cast<char>(tokens.size() >> 8)};
      tokens += {static_cast<char>(i), '\0'};
    }
  }
  const std::string offsets = std::string(4, '\0') + take(size_t{count} * 4), names = "\7T_stext" + rest;
  ktstr::KallsymsSource source;
  source.count = count + 1u;
  source.names = bytesOf(names);
  source.tokenTable = bytesOf(tokens);
  source.tokenIndex = bytesOf(index);
  source.offsets = bytesOf(offsets);
  source.offsetsAddress = source.stext = address;
  if (flags & 2) source.relativeBase = flags & 4 ? address : address + 1;
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
