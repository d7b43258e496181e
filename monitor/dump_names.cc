// What the sections of a dump have in common: CPUs and flags in words.
#include <algorithm>

#include "monitor/dump_parts.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxCharacters = 256;

bool isPowerOfTwo(uint32_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}

// Names the place of a field in the flags, not a flag: SCX_TASK_STATE_SHIFT, _BITS, _MASK.
bool describesField(std::string_view name) {
  return name.ends_with("_SHIFT") || name.ends_with("_BITS") || name.ends_with("_MASK");
}

}  // namespace

std::string MemberReader::chars(uint64_t address, const char* member) {
  const auto field = find(member, 0);
  if (!field) return {};
  const auto words =
      source_.kernel().string(address + field->offset, std::min<size_t>(field->size, maxCharacters));
  if (!words) gap(text(member, " at ", hex(address + field->offset), " is no text in memory"));
  return printable(words.value_or(""));
}

std::optional<Field> MemberReader::find(const char* member, size_t size) {
  const auto field = source_.layout().member(member);
  if (field && (size == 0 || field->size == size)) return field;
  if (named_.try_emplace(member, true).second)
    source_.absent.add(text(section_, ".", member), field ? text(member, " has ", field->size, " bytes")
                                                          : source_.layout().whyAbsent(member));
  return std::nullopt;
}

std::optional<std::vector<uint32_t>> readCpus(const DumpSource& source, uint64_t mask) {
  std::vector<uint32_t> cpus;
  std::optional<uint64_t> word;
  for (size_t i = 0; i < source.cpus.size(); ++i) {
    const uint32_t cpu = source.cpus[i];
    if (i == 0 || cpu / 64 != source.cpus[i - 1] / 64)
      word = source.kernel().read<uint64_t>(mask + cpu / 64 * 8);
    if (!word) return std::nullopt;
    if (*word >> cpu % 64 & 1) cpus.push_back(cpu);
  }
  return cpus;
}

std::optional<std::vector<uint32_t>> readCpusOf(const DumpSource& source, uint64_t variable) {
  constexpr uint64_t kernelHalf = 0xff00'0000'0000'0000;
  const auto word = source.kernel().read<uint64_t>(variable);
  if (!word) return std::nullopt;
  return readCpus(source, (*word & kernelHalf) == kernelHalf ? *word : variable);
}

std::string cpuRanges(const std::vector<uint32_t>& cpus) {
  constexpr size_t enough = 256;
  std::string out;
  for (size_t i = 0; i < cpus.size();) {
    if (out.size() > enough) return out + ",...";
    size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    out += text(out.empty() ? "" : ",", cpus[i]);
    if (last > i) out += text("-", cpus[last]);
    i = last + 1;
  }
  return out;
}

std::vector<std::string> flagNames(const KernelLayout& layout, std::string_view enumName,
                                   std::string_view prefix, uint32_t flags) {
  const auto enumerators = layout.enumerators(enumName);
  uint32_t inFields = 0;
  for (const auto& [name, value] : enumerators) {
    if (name.ends_with("_MASK")) inFields |= static_cast<uint32_t>(value);
  }
  std::vector<std::string> names;
  for (const auto& [name, value] : enumerators) {
    const auto bit = static_cast<uint32_t>(value);
    if (!isPowerOfTwo(bit) || describesField(name) || (bit & inFields) || !(flags & bit)) continue;
    names.push_back(name.starts_with(prefix) ? name.substr(prefix.size()) : name);
  }
  return names;
}

void setTexts(capnp::List<capnp::Text>::Builder list, const std::vector<std::string>& texts) {
  for (unsigned i = 0; i < texts.size(); ++i) list.set(i, texts[i]);
}

}  // namespace ktstr
