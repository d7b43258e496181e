#include "protocol/json_string.h"

#include <nlohmann/json.hpp>

namespace ktstr {

std::string jsonString(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace ktstr
