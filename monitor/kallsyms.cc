#include "monitor/kallsyms.h"

#include <algorithm>
#include <array>
#include <limits>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxNameBytes = 512, maxAllNames = size_t{64} << 20, tokens = 256;

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ExitCode::inconclusive, "kallsyms-invalid", why,
              "the guest's kernel is damaged, not a Linux kernel, or newer than this tool");
}

// One token string. Most are short: those are copied as 16 bytes whatever their length.
struct Token {
  std::string_view text;
  std::array<char, 16> head{};

  char* appendTo(char* to) const {
    if (text.size() <= head.size()) {
      std::memcpy(to, head.data(), head.size());
    } else {
      std::memcpy(to, text.data(), text.size());
    }
    return to + text.size();
  }
};
constexpr size_t slack = sizeof(Token::head);

// A copy of the 256 token strings.
class TokenTable {
 public:
  explicit TokenTable(const KallsymsSource& source) {
    if (source.tokenIndex.size() < tokens * 2) refuse("the token index is cut off");
    const auto bytes = reinterpret_cast<const char*>(source.tokenTable.data());
    text_.assign(bytes, std::min(source.tokenTable.size(), size_t{std::numeric_limits<uint16_t>::max()}));
    for (size_t i = 0; i < tokens; ++i) {
      const size_t begin = loadGuest<uint16_t>(source.tokenIndex.data() + 2 * i);
      const size_t end = text_.find('\0', begin);
      if (begin >= text_.size() || end == std::string::npos)
        refuse(text("token ", i, " is outside the token table"));
      tokens_[i].text = std::string_view(text_).substr(begin, end - begin);
      tokens_[i].text.copy(tokens_[i].head.data(), slack);
    }
  }
  const Token& operator[](std::byte number) const { return tokens_[static_cast<size_t>(number)]; }

 private:
  std::string text_;
  std::array<Token, tokens> tokens_;
};

// Walks the compressed names once.
class NameDecoder {
 public:
  NameDecoder(const KallsymsSource& source, SymbolStorage& out)
      : names_(source.names), tokens_(source), out_(out) {}

  void decode(uint32_t count) {
    out_.nameOffsets.reserve(count + 1);
    out_.types.reserve(count);
    out_.names.resize(std::min(maxAllNames, size_t{count} * 32 + maxNameBytes + slack));
    out_.nameOffsets.push_back(0);
    for (uint32_t i = 0; i < count; ++i) next(i);
    out_.names.resize(used_);
  }

 private:
  uint8_t byte(uint32_t symbol) {
    if (at_ >= names_.size()) refuse(text("the names are cut off at symbol ", symbol));
    return loadGuest<uint8_t>(names_.data() + at_++);
  }

  void next(uint32_t symbol) {
    size_t length = byte(symbol);
    if (length & 0x80) length = (length & 0x7f) | size_t{byte(symbol)} << 7;
    if (length == 0) refuse(text("symbol ", symbol, " has no name"));
    if (length > names_.size() - at_) refuse(text("the names are cut off at symbol ", symbol));
    if (out_.names.size() - used_ < maxNameBytes + slack) grow(symbol);
    char* const begin = out_.names.data() + used_;
    char* to = begin;
    for (size_t i = 0; i < length; ++i) {
      const Token& token = tokens_[names_[at_ + i]];
      if (token.text.size() > maxNameBytes - static_cast<size_t>(to - begin)) {
        refuse(text("symbol ", symbol, " is too long"));
      }
      to = token.appendTo(to);
    }
    at_ += length;
    if (to - begin < 2) refuse(text("symbol ", symbol, " has no name"));
    out_.types.push_back(*begin);
    std::copy(begin + 1, to, begin);  // the type is not part of the name
    used_ += static_cast<size_t>(to - begin) - 1;
    out_.nameOffsets.push_back(static_cast<uint32_t>(used_));
  }

  void grow(uint32_t symbol) {
    if (out_.names.size() >= maxAllNames)
      refuse(text("more than ", maxAllNames, " bytes of names at symbol ", symbol));
    out_.names.resize(std::min(maxAllNames, out_.names.size() + (size_t{1} << 20)));
  }

  std::span<const std::byte> names_;
  TokenTable tokens_;
  SymbolStorage& out_;
  size_t at_ = 0, used_ = 0;
};

enum class Encoding { placeRelative, baseRelative, absolutePerCpu };

// Run-time address, or an absolute value below kernelMapBase.
uint64_t decodeAddress(const KallsymsSource& source, Encoding encoding, size_t index) {
  const auto raw = loadGuest<uint32_t>(source.offsets.data() + 4 * index);
  const auto extended = static_cast<uint64_t>(int64_t{static_cast<int32_t>(raw)});
  switch (encoding) {
    case Encoding::placeRelative:
      return source.offsetsAddress + 4 * index + extended;
    case Encoding::baseRelative:
      return *source.relativeBase + raw;
    case Encoding::absolutePerCpu:
      return static_cast<int32_t>(raw) >= 0 ? raw : *source.relativeBase - 1 - extended;
  }
  return 0;
}

Encoding findEncoding(const KallsymsSource& source, const SymbolStorage& symbols) {
  const SymbolTable table(symbols.arrays());
  const auto index = table.find("_stext");  // addresses still are indexes
  if (!index) refuse("there is no symbol _stext");
  std::vector<Encoding> candidates{Encoding::placeRelative};
  if (source.relativeBase) candidates = {Encoding::baseRelative, Encoding::absolutePerCpu};
  for (const auto encoding : candidates) {
    if (decodeAddress(source, encoding, *index) == source.stext) return encoding;
  }
  refuse(text("_stext comes out at ", hex(decodeAddress(source, candidates.front(), *index)),
              ", VMCOREINFO says ", hex(source.stext)));
}

}  // namespace

SymbolStorage decodeKallsyms(const KallsymsSource& source) {
  if (source.count == 0 || source.count > maxKernelSymbols) {
    refuse(text("kallsyms_num_syms is ", source.count, "; 1 to ", maxKernelSymbols, " are plausible"));
  }
  if (source.offsets.size() / 4 < source.count) refuse("the offsets are cut off");
  SymbolStorage symbols;
  NameDecoder(source, symbols).decode(source.count);
  symbols.addresses.resize(source.count);
  for (size_t i = 0; i < source.count; ++i) symbols.addresses[i] = i;
  if (!symbols.index()) refuse("too many names collide");

  const auto encoding = findEncoding(source, symbols);
  uint64_t last = 0;
  for (size_t i = 0; i < source.count; ++i) {
    const uint64_t address = decodeAddress(source, encoding, i);
    const uint64_t link = address >= kernelMapBase ? address - source.slide : address;
    if (link < last) refuse(text("symbol ", i, " at ", hex(link), " comes after one at ", hex(last)));
    symbols.addresses[i] = last = link;
  }
  return symbols;
}

}  // namespace ktstr
