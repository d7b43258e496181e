#include "protocol/error.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace ktstr {

Error::Error(ExitCode code, std::string name, std::string message, std::string hint)
    : code_(code), name_(std::move(name)), message_(std::move(message)), hint_(std::move(hint)) {
  full_ = name_ + ": " + message_;
  if (!hint_.empty()) full_ += " (" + hint_ + ")";
}

Error errnoError(std::string name, const std::string& doing, std::string hint, int errnum) {
  const int number = errnum != 0 ? errnum : errno;
  return Error(ExitCode::infrastructure, std::move(name),
               doing + ": " + (number != 0 ? strerror(number) : "it is not so when it is read back"),
               std::move(hint));
}

}  // namespace ktstr
