// The sandbox of everything that works on the store: files yes; sockets, programs, other processes no.
#pragma once

#include "protocol/sandbox.h"

namespace ktstr::cache {

// Basics, heap and the file calls that Store, the parsers and listing need; and what a line on stdout takes.
// The caller adds what it needs beyond that and locks down.
Sandbox storeSandbox();

}  // namespace ktstr::cache
