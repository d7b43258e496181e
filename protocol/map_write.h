// A write of a BPF map's value as people ask for it.
#pragma once

#include <cstddef>
#include <string>

namespace ktstr {

struct MapWrite {
  std::string map;    // name, end of the name (".bss"), or "#ID"
  std::string place;  // a path in the value's type ("counters[2].limit"), or "+OFFSET" for four bytes there
  std::string value;  // a number, decimal or 0x hex, true, false, or an enumerator's name
};

inline constexpr size_t maxMapWrites = 64;  // of one run: of --map-write and of operations together

// "MAP:PLACE=VALUE": split at the first colon, and at the first equals sign after it; no part is empty.
// Throws Error "option-invalid" (usage).
MapWrite parseMapWrite(const std::string& word);

}  // namespace ktstr
