// Scenario JSON of any bytes: refused with an Error, or stable under encoding and decoding.
#include <capnp/message.h>

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "protocol/error.h"
#include "protocol/json.h"
#include "protocol/scenario.capnp.h"

namespace {

std::string recode(std::string_view json, ktstr::JsonStyle style) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<ktstr::rpc::Scenario>();
  ktstr::fromJson(json, scenario);
  return ktstr::toJson(scenario.asReader(), style);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  std::string once;
  try {
    once = recode({reinterpret_cast<const char*>(data), length}, {});
  } catch (const ktstr::Error&) {
    return 0;
  }
  if (recode(once, {}) != once) abort();
  const std::string full = recode(once, {.full = true});
  if (recode(full, {.full = true}) != full) abort();
  return 0;
}
