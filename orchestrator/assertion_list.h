// `ktstr assertion list`.
#pragma once

#include <string>

namespace ktstr {

// Every assertion with its default, its unit and what is compared, from the table of assertions.h: for
// people, or as one line of JSON each.
std::string assertionText();
std::string assertionJsonLines();

}  // namespace ktstr
