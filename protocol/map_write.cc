#include "protocol/map_write.h"

#include "protocol/error.h"

namespace ktstr {

MapWrite parseMapWrite(const std::string& word) {
  const size_t colon = word.find(':');
  const size_t equals = colon == std::string::npos ? colon : word.find('=', colon);
  if (equals != std::string::npos) {
    MapWrite write{word.substr(0, colon), word.substr(colon + 1, equals - colon - 1),
                   word.substr(equals + 1)};
    if (!write.map.empty() && !write.place.empty() && !write.value.empty()) return write;
  }
  throw Error(ExitCode::usage, "option-invalid", "--map-write \"" + word + "\" is not MAP:PLACE=VALUE",
              "as in --map-write .data:slice_ns=5000000, or .bss:+16=1");
}

}  // namespace ktstr
