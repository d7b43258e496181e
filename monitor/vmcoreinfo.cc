#include "monitor/vmcoreinfo.h"

#include <charconv>
#include <map>

#include "protocol/text.h"

namespace ktstr {
namespace {

using Lines = std::map<std::string_view, std::string_view>;

Lines splitLines(std::string_view text) {
  Lines lines;
  text = text.substr(0, vmcoreinfoLimit);
  text = text.substr(0, text.find('\0'));
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const auto equals = line.find('=');
    if (equals != std::string_view::npos) lines.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  return lines;
}

template <typename T>
std::optional<T> number(std::string_view digits, int base) {
  if (digits.starts_with("0x")) {
    digits.remove_prefix(2);
    base = 16;
  }
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

// Collects values; remembers the first problem.
class Reader {
 public:
  explicit Reader(std::string_view text) : lines_(splitLines(text)) {}

  std::optional<std::string_view> find(std::string_view key) const {
    const auto at = lines_.find(key);
    return at == lines_.end() ? std::nullopt : std::optional(at->second);
  }

  template <typename T = uint64_t>
  std::optional<T> optional(const std::string& key, int base) {
    const auto value = find(key);
    if (!value) return std::nullopt;
    const auto parsed = number<T>(*value, base);
    if (!parsed) fail(text(key, " is not a number"));
    return parsed;
  }

  template <typename T = uint64_t>
  T required(const std::string& key, int base) {
    if (!find(key)) fail(text("no ", key));
    return optional<T>(key, base).value_or(T{});
  }

  void fail(const std::string& why) {
    if (problem_.empty()) problem_ = why;
  }
  const std::string& problem() const { return problem_; }

 private:
  Lines lines_;
  std::string problem_;
};

bool plainText(std::string_view value) {
  for (const char c : value) {
    if (c <= ' ' || c > '~') return false;
  }
  return !value.empty();
}

}  // namespace

VmcoreinfoResult parseVmcoreinfo(std::string_view content) {
  Reader reader(content);
  Vmcoreinfo info;
  info.release = reader.find("OSRELEASE").value_or("");
  if (!plainText(info.release) || info.release.size() > 64) reader.fail("no usable OSRELEASE");
  info.buildId = reader.find("BUILD-ID").value_or("");
  if (info.buildId.find_first_not_of("0123456789abcdef") != std::string::npos || info.buildId.size() > 128) {
    reader.fail("BUILD-ID is not lower-case hex");
  }
  info.slide = reader.required("KERNELOFFSET", 16);
  if (info.slide % 4096 != 0) reader.fail("KERNELOFFSET is not a multiple of the page size");
  info.physBase = static_cast<uint64_t>(reader.required<int64_t>("NUMBER(phys_base)", 10));
  info.swapperPgDir = reader.required("SYMBOL(swapper_pg_dir)", 16);
  info.stext = reader.required("SYMBOL(_stext)", 16);
  if (const auto five = reader.optional("NUMBER(pgtable_l5_enabled)", 10)) info.levels = *five ? 5 : 4;
  info.imageSize = reader.optional("NUMBER(KERNEL_IMAGE_SIZE)", 10);
  info.kallsymsNames = reader.required("SYMBOL(kallsyms_names)", 16);
  info.kallsymsCount = reader.required("SYMBOL(kallsyms_num_syms)", 16);
  info.kallsymsTokenTable = reader.required("SYMBOL(kallsyms_token_table)", 16);
  info.kallsymsTokenIndex = reader.required("SYMBOL(kallsyms_token_index)", 16);
  info.kallsymsOffsets = reader.required("SYMBOL(kallsyms_offsets)", 16);
  info.kallsymsRelativeBase = reader.optional("SYMBOL(kallsyms_relative_base)", 16);
  if (!reader.problem().empty()) return {std::nullopt, reader.problem()};
  return {std::move(info), {}};
}

}  // namespace ktstr
