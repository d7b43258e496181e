// What came of a call on another process.
#pragma once

#include <kj/exception.h>

namespace ktstr {

// An Error thrown by a method arrives at its caller as a kj::Exception; turns it back into an Error of that
// name, with the hint in the message and ExitCode::infrastructure. Others become "peer-disconnected" or
// "call-failed".
[[noreturn]] void rethrowAsError(const kj::Exception& exception);

}  // namespace ktstr
