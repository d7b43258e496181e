// The JSON form of every schema message.
//   - Field names are those of the schema, in its order. Numbers are JSON numbers, also 64-bit ones. A float
//     that is not finite (NaN is "not set") is omitted, in a list null.
//   - Numbers, booleans and enums are always written. An empty list or text, a null struct, and a union's
//     first member if it is empty or Void are omitted unless `full`.
//   - A union member appears under its own name, a Void member as null. Groups are objects, enums are names,
//     Data is base64. Text that is not UTF-8 gets U+FFFD for its bad bytes. Capabilities are left out.
//
// Decoding is strict: an unknown field, a field given twice, a wrong type, a number out of range or with a
// fraction, two members of one union, text that is not UTF-8 or has a NUL, a capability, nesting deeper than
// 64, or more than 16 MiB throws Error "json-invalid" (ExitCode::usage) whose message names the place:
//   steps[0].cgroups[1].workers: expected a number from 0 to 4294967295, got "two"
// with the known names as hint where a name is wrong.
#pragma once

#include <capnp/dynamic.h>

#include <string>
#include <string_view>

namespace ktstr {

struct JsonStyle {
  bool pretty = false;  // two-space indent instead of one line
  bool full = false;    // also write what is empty, a null struct with its defaults
};

// Throws Error "message-invalid" for a malformed message: one that came from outside may be any bytes. Bound
// what it may cost by capnp::ReaderOptions.
std::string toJson(capnp::DynamicStruct::Reader message, JsonStyle style = {});
// Fields not given keep what they have. After an Error the message is partly filled.
void fromJson(std::string_view json, capnp::DynamicStruct::Builder message);

}  // namespace ktstr
