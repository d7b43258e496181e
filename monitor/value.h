// A value of any type, made readable. As JSON: numbers, booleans, strings, objects and arrays as one would
// write them by hand; what could not be read is {"absent": "why"}. As text: indented lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ktstr {

struct Value {
  enum class Kind {
    absent,   // text: why
    null,     // a null pointer
    boolean,  // number
    signedNumber,
    unsignedNumber,
    real,
    name,   // text: of an enumerator, an address, characters up to NUL
    list,   // members without names
    object  // members
  };
  Kind kind = Kind::absent;
  std::string text = {};
  uint64_t number = 0;  // two's complement if signed
  double fraction = 0;
  std::vector<std::pair<std::string, Value>> members = {};

  static Value absent(std::string why) { return {Kind::absent, std::move(why)}; }
  static Value named(std::string text) { return {Kind::name, std::move(text)}; }
  static Value of(uint64_t number) { return {Kind::unsignedNumber, {}, number}; }
  static Value of(bool value) { return {Kind::boolean, {}, value}; }
  // Hex digits, in the order of memory.
  static Value ofBytes(std::span<const std::byte> bytes);
  static Value object() { return {Kind::object}; }
  static Value list() { return {Kind::list}; }
  Value& add(std::string name, Value value) {
    members.emplace_back(std::move(name), std::move(value));
    return *this;
  }
};

// One line, without a newline. Bytes that are not printable ASCII become \u00XX.
std::string valueAsJson(const Value& value);
// Lines, the last one without a newline: "name: value", what is inside two columns further right.
std::string valueAsText(const Value& value);

}  // namespace ktstr
