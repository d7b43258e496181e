// What a walk through a data structure of the guest's found.
//
// The guest changes it meanwhile and may be hostile: every walk takes a limit, refuses to come to one place
// twice, and ends at the first pointer that leads nowhere. What was found until then is kept.
#pragma once

#include <string>
#include <vector>

namespace ktstr {

template <typename T>
struct Walk {
  std::vector<T> found;
  std::string problem;  // why the walk ended early; empty: it came to the regular end
};

}  // namespace ktstr
