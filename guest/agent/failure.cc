#include "guest/agent/failure.h"

#include <capnp/schema.h>

#include <cstring>

#include "protocol/text.h"

namespace ktstr::agent {

std::string withErrno(const std::string& doing, int number) {
  return text(doing, ": ", strerror(number), " (errno ", number, ")");
}

std::string failureText(FailureName name) {
  for (const auto& each : capnp::Schema::from<FailureName>().getEnumerants()) {
    if (each.getIndex() == static_cast<uint16_t>(name)) return each.getProto().getName().cStr();
  }
  return text("failure ", static_cast<unsigned>(name));
}

}  // namespace ktstr::agent
