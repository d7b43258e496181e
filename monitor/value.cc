#include "monitor/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace ktstr {
namespace {

constexpr char digits[] = "0123456789abcdef";

// By byte: in JSON it stands for itself.
constexpr auto plain = [] {
  std::array<bool, 256> table{};
  for (size_t c = ' '; c <= '~'; ++c) table[c] = c != '"' && c != '\\';
  return table;
}();

// Most of a large value are runs of what stays as it is.
std::string quoted(std::string_view text) {
  const auto stays = [](char c) { return plain[static_cast<unsigned char>(c)]; };
  std::string out = "\"";
  out.reserve(text.size() + 2);
  for (auto at = text.begin(); at != text.end();) {
    const auto end = std::find_if_not(at, text.end(), stays);
    out.append(at, end);
    at = end;
    if (at == text.end()) break;
    const char c = *at++;
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else
      out += {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
  }
  return out + '"';
}

std::string shortest(double value) {
  if (!std::isfinite(value)) return "null";
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}

// Of what has no members.
std::string scalar(const Value& value, bool json) {
  switch (value.kind) {
    case Value::Kind::null:
      return "null";
    case Value::Kind::boolean:
      return value.number ? "true" : "false";
    case Value::Kind::signedNumber:
      return std::to_string(static_cast<int64_t>(value.number));
    case Value::Kind::unsignedNumber:
      return std::to_string(value.number);
    case Value::Kind::real:
      return shortest(value.fraction);
    case Value::Kind::name:
      return json ? quoted(value.text) : value.text;
    default:
      return json ? "{\"absent\":" + quoted(value.text) + "}" : "(" + value.text + ")";
  }
}

bool isScalar(const Value& value) {
  return value.kind != Value::Kind::list && value.kind != Value::Kind::object;
}

void appendJson(const Value& value, std::string& out) {
  if (isScalar(value)) {
    out += scalar(value, true);
    return;
  }
  const bool named = value.kind == Value::Kind::object;
  out += named ? '{' : '[';
  const char* separator = "";
  for (const auto& [name, member] : value.members) {
    out += separator;
    separator = ",";
    if (named) out += quoted(name) + ':';
    appendJson(member, out);
  }
  out += named ? '}' : ']';
}

bool isShortList(const Value& value) {
  if (value.kind != Value::Kind::list) return false;
  for (const auto& member : value.members) {
    if (!isScalar(member.second)) return false;
  }
  return true;
}

void appendText(const Value& value, const std::string& indent, std::string& out) {
  if (isScalar(value)) {
    out += scalar(value, false);
    return;
  }
  if (isShortList(value)) {
    for (const auto& [name, member] : value.members)
      out += (&name == &value.members[0].first ? "" : " ") + scalar(member, false);
    return;
  }
  size_t index = 0;
  for (const auto& [name, member] : value.members) {
    if (index > 0) out += '\n' + indent;
    out += (value.kind == Value::Kind::list ? '[' + std::to_string(index) + ']' : name) + ':';
    ++index;
    const bool inLine = isScalar(member) || isShortList(member) || member.members.empty();
    out += inLine ? " " : '\n' + indent + "  ";
    appendText(member, indent + "  ", out);
  }
}

}  // namespace

Value Value::ofBytes(std::span<const std::byte> bytes) {
  std::string out(bytes.size() * 2, '0');
  char* at = out.data();
  for (const std::byte byte : bytes) {
    *at++ = digits[static_cast<unsigned>(byte) >> 4];
    *at++ = digits[static_cast<unsigned>(byte) & 15];
  }
  return named(std::move(out));
}

std::string valueAsJson(const Value& value) {
  std::string out;
  appendJson(value, out);
  return out;
}

std::string valueAsText(const Value& value) {
  std::string out;
  appendText(value, "", out);
  return out;
}

}  // namespace ktstr
