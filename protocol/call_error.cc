#include "protocol/call_error.h"

#include <string_view>

#include "protocol/error.h"

namespace ktstr {

void rethrowAsError(const kj::Exception& exception) {
  std::string_view what(exception.getDescription().begin(), exception.getDescription().size());
  for (const std::string_view prefix : {"remote exception: ", "std::exception: "}) {
    while (what.starts_with(prefix)) what.remove_prefix(prefix.size());
  }
  const size_t colon = what.find(": ");
  const std::string_view name = what.substr(0, colon);
  const bool named =
      colon != std::string_view::npos && colon > 0 &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string_view::npos;
  if (named) {
    throw Error(ExitCode::infrastructure, std::string(name), std::string(what.substr(colon + 2)));
  }
  if (exception.getType() == kj::Exception::Type::DISCONNECTED) {
    throw Error(ExitCode::infrastructure, "peer-disconnected", std::string(what));
  }
  throw Error(ExitCode::infrastructure, "call-failed", std::string(what));
}

}  // namespace ktstr
