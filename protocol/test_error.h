// For tests: what an action throws.
#pragma once

#include <string>

#include "protocol/error.h"

namespace ktstr {

// "NAME: MESSAGE (HINT)" of the Error that it throws, or "no error".
template <typename Action>
std::string errorOf(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace ktstr
