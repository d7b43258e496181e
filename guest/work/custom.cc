#include "guest/work/custom.h"

#include <map>

#include "guest/work/loops.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::work {
namespace {

std::map<std::string, CustomFunction>& functions() {
  static std::map<std::string, CustomFunction> all;
  return all;
}

}  // namespace

void registerCustom(const std::string& name, CustomFunction function) {
  if (functions().try_emplace(name, function).second) return;
  throw Error(ExitCode::usage, "custom-invalid", text("two custom functions are called \"", name, '"'));
}

CustomFunction findCustom(const std::string& name) {
  const auto found = functions().find(name);
  if (found != functions().end()) return found->second;
  std::string known;
  for (const auto& [other, function] : functions()) known += (known.empty() ? "" : ", ") + other;
  throw Error(ExitCode::usage, "custom-unknown",
              text("no custom function \"", name, "\" is registered here; there ",
                   known.empty() ? std::string("are none") : "are: " + known));
}

void custom(Seat& seat) {
  findCustom(seat.type.getCustom().getName())(seat);
}

}  // namespace ktstr::work
