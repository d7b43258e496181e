// Shell completions for the front end.
#pragma once

#include <string>

namespace ktstr {

// The script for "bash", "zsh" or "fish". Throws Error "unknown-shell".
std::string completionScript(const std::string& shell);

}  // namespace ktstr
