// Names for the hint of an error: what there is instead.
#pragma once

#include <string>
#include <vector>

namespace ktstr {

inline std::string listed(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "there are: " : ", ") + name;
  return all.empty() ? "there are none" : all;
}

}  // namespace ktstr
