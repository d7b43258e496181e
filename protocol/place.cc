#include "protocol/place.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace ktstr {
namespace {

std::string setting(const char* variable) {
  const char* value = getenv(variable);
  return value == nullptr ? "" : value;
}

std::string home() {
  if (auto set = setting("HOME"); set.starts_with('/')) return set;
  const passwd* user = getpwuid(geteuid());
  return user == nullptr || user->pw_dir[0] != '/' ? "" : user->pw_dir;
}

}  // namespace

std::string userPlace(const char* own, const char* xdg, const char* belowHome) {
  if (const auto place = setting(own); !place.empty()) return std::filesystem::absolute(place);
  if (const auto place = setting(xdg); place.starts_with('/')) return place + "/ktstr";
  return home() + "/" + belowHome + "/ktstr";
}

}  // namespace ktstr
