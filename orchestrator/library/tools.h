// What the library has others do: programs of ktstr, in PATH or $KTSTR_BIN_DIR.
#pragma once

#include <string>

#include "orchestrator/library/declare.h"

namespace ktstr {

// What the program prints for these words and this input. Throws Error "run-failed" with what it said instead
// if that is nothing.
std::string ask(const std::string& program, const Words& words, const std::string& input = {});

bool isKernelRange(const std::string& name);
// The kernels that it stands for: itself, or each of a range (debian:FIRST..LAST), as `ktstr kernel expand`
// says. Throws as ask().
Words expandKernel(const std::string& name);

}  // namespace ktstr
