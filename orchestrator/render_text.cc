#include "orchestrator/render_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "guest/topology.h"
#include "orchestrator/console.h"

namespace ktstr::render {

namespace {

constexpr size_t narrowestCut = 6;

std::string number(double value, const char* unit) {
  std::array<char, 64> buffer;
  const double size = std::abs(value);
  snprintf(buffer.data(), buffer.size(),
           size < 9.995   ? "%.2f%s"
           : size < 99.95 ? "%.1f%s"
                          : "%.0f%s",
           value, unit);
  return buffer.data();
}

// Bytes of the first `size` code points.
size_t bytesOf(std::string_view text, size_t size) {
  size_t at = 0;
  for (; at < text.size(); ++at) {
    const bool starts = (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
    if (starts && size-- == 0) break;
  }
  return at;
}

std::string cut(std::string_view text, size_t size) {
  if (width(text) <= size) return std::string(text);
  return size == 0 ? "" : std::string(text.substr(0, bytesOf(text, size - 1))) + "~";
}

std::string escape(const char* code, std::string_view text, bool colour) {
  return colour ? std::string("\x1b[") + code + "m" + std::string(text) + "\x1b[0m" : std::string(text);
}

}  // namespace

std::string clean(capnp::Text::Reader text) {
  std::string out = cleanText({text.begin(), text.size()});
  std::replace(out.begin(), out.end(), '\n', ' ');
  std::replace(out.begin(), out.end(), '\t', ' ');
  return out;
}

size_t width(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string padLeft(std::string_view text, size_t size) {
  const std::string shown = cut(text, size);
  return std::string(size - width(shown), ' ') + shown;
}

std::string padRight(std::string_view text, size_t size) {
  const std::string shown = cut(text, size);
  return shown + std::string(size - width(shown), ' ');
}

std::string wrap(std::string_view text, size_t indent) {
  const size_t room = columns - indent;
  std::string out;
  while (text.ends_with(' ')) text.remove_suffix(1);
  while (!text.empty()) {
    size_t take = text.size(), skip = 0;
    if (width(text) > room) {
      const size_t fits = bytesOf(text, room);
      const size_t space = text.rfind(' ', fits);
      const bool breakable = space != std::string_view::npos && space > 0;
      take = breakable ? space : fits;
      skip = breakable ? 1 : 0;
    }
    out += std::string(indent, ' ') + std::string(text.substr(0, take)) + "\n";
    text.remove_prefix(take + skip);
  }
  return out;
}

std::string Table::str(size_t indent) const {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  const auto total = [&] {
    size_t sum = indent;
    for (const size_t one : widths) sum += one + 2;
    return sum - 2;
  };
  while (!widths.empty() && !shrinkable.empty() && total() > columns) {
    const size_t widest = *std::max_element(shrinkable.begin(), shrinkable.end(),
                                            [&](size_t a, size_t b) { return widths.at(a) < widths.at(b); });
    if (widths[widest] <= narrowestCut) break;
    --widths[widest];
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line(indent, ' ');
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      line += rightAligned.at(i) ? padLeft(row[i], widths[i]) : padRight(row[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string milliseconds(double value) {
  if (std::isnan(value)) return "-";
  return value >= 999.5 ? number(value / 1000, " s") : number(value, " ms");
}

std::string microseconds(double value) {
  if (std::isnan(value)) return "-";
  return value >= 999.5 ? milliseconds(value / 1000) : number(value, " us");
}

std::string points(double value) {
  return std::isnan(value) ? "-" : number(value, " pp");
}

std::string rate(double value) {
  if (std::isnan(value)) return "-";
  if (value >= 999.5e6) return number(value / 1e9, " G/s");
  if (value >= 999.5e3) return number(value / 1e6, " M/s");
  return value >= 999.5 ? number(value / 1e3, " k/s") : number(value, " /s");
}

std::string ratio(double value) {
  if (std::isnan(value)) return "-";
  std::string text = number(value, "");
  while (text.find('.') != std::string::npos && (text.ends_with('0') || text.ends_with('.'))) text.pop_back();
  return text;
}

std::string percent(double share) {
  return std::isnan(share) ? "-" : std::to_string(std::lround(100 * share)) + " %";
}

std::string count(uint64_t value) {
  return std::to_string(value);
}

std::string cpus(capnp::List<uint32_t>::Reader list) {
  std::vector<uint32_t> sorted;
  for (const uint32_t cpu : list) sorted.push_back(cpu);
  return sorted.empty() ? "-" : cpuList(sorted);
}

std::string outcomeWord(rpc::Outcome outcome) {
  switch (outcome) {
    case rpc::Outcome::PASS:
      return "PASS";
    case rpc::Outcome::FAIL:
      return "FAIL";
    case rpc::Outcome::INCONCLUSIVE:
      return "INCONCLUSIVE";
    case rpc::Outcome::INFRASTRUCTURE:
      return "INFRASTRUCTURE";
    case rpc::Outcome::SKIP:
      return "SKIPPED";
  }
  return "UNKNOWN";
}

std::string paint(std::string_view text, rpc::Outcome outcome, bool colour) {
  switch (outcome) {
    case rpc::Outcome::PASS:
      return escape("1;32", text, colour);
    case rpc::Outcome::FAIL:
      return escape("1;31", text, colour);
    case rpc::Outcome::INCONCLUSIVE:
      return escape("1;33", text, colour);
    case rpc::Outcome::INFRASTRUCTURE:
      return escape("1;35", text, colour);
    case rpc::Outcome::SKIP:
      return escape("1;36", text, colour);
  }
  return std::string(text);
}

std::string bold(std::string_view text, bool colour) {
  return escape("1", text, colour);
}

std::string dim(std::string_view text, bool colour) {
  return escape("2", text, colour);
}

}  // namespace ktstr::render
