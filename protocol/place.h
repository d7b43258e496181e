// Where a user's files of one kind are kept.
#pragma once

#include <string>

namespace ktstr {

// $`own` if set, else $`xdg`/ktstr if that is absolute (XDG Base Directory Specification), else
// HOME/`belowHome`/ktstr. HOME is taken from the environment, else from the user database (services and CI
// often start without one), else it is /. Always absolute. Call before lockDown: the database is behind files
// and sockets.
std::string userPlace(const char* own, const char* xdg, const char* belowHome);

}  // namespace ktstr
