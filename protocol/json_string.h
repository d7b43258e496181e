// One JSON string, for the few hand-made lines that are not messages.
#pragma once

#include <string>
#include <string_view>

namespace ktstr {

// "hello \"you\"" with quotes; what is not UTF-8 becomes U+FFFD.
std::string jsonString(std::string_view text);

}  // namespace ktstr
