// The JSON form of every schema message.
//   - field names as in the schema; numbers are JSON numbers, also 64-bit ones; Float64 NaN ("not set") is omitted
//   - an empty list or text, a null struct and a union's default member are omitted on encoding unless `full`
//   - a union member appears under its own name; a Void member as null; groups are objects; enums are names
//   - Data is a base64 string
// Decoding is strict: an unknown field, a wrong type, a number out of range, two members of one union, text that is
// not UTF-8, or nesting deeper than 64 throws Error "json-invalid" (ExitCode::usage) whose message names the place:
// "steps[0].cgroups[1].workers: expected a number from 0 to 4294967295, got \"two\"", with the known names as hint.
#pragma once

#include <capnp/dynamic.h>

#include <string>
#include <string_view>

namespace ktstr {

struct JsonStyle {
  bool pretty = false;  // two-space indent instead of one line
  bool full = false;    // also write members that have their default value
};

std::string toJson(capnp::DynamicStruct::Reader message, JsonStyle style = {});
void fromJson(std::string_view json, capnp::DynamicStruct::Builder message);

// "hello \"you\"" with quotes: for the few hand-made lines that are not messages.
std::string jsonString(std::string_view text);

}  // namespace ktstr
