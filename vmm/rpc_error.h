// Errors across RPC: a failed call carries "name: message (hint)" as its description (protocol/call_error.h
// turns it back into an Error on the other side).
#pragma once

#include <kj/async.h>

#include <type_traits>

#include "protocol/error.h"

namespace ktstr::vmm {

inline kj::Exception rpcException(const char* what) {
  return kj::Exception(kj::Exception::Type::FAILED, __FILE__, __LINE__, kj::heapString(what));
}

// Runs the body of a server method; an Error thrown in it or in its continuations fails the call by its name.
template <typename Body>
kj::Promise<void> answering(Body&& body) {
  const auto run = [&body]() -> kj::Promise<void> {
    if constexpr (!std::is_void_v<std::invoke_result_t<Body>>)
      return body();
    else
      return body(), kj::READY_NOW;
  };
  return kj::evalNow(run).catch_([](kj::Exception&& exception) -> kj::Promise<void> {
    constexpr kj::StringPtr foreign =
        "std::exception: "_kj;  // how KJ presents exceptions that are not its own
    const kj::StringPtr description = exception.getDescription();
    if (!description.startsWith(foreign)) return kj::mv(exception);
    return rpcException(description.slice(foreign.size()).cStr());
  });
}

}  // namespace ktstr::vmm
