// What the monitor reads of BPF maps is what bpftool, run in the guest, dumps of them at that moment. Where
// the guest writes meanwhile, it writes counters: what bpftool shows lies between what was seen before and
// after.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/system/watched.h"

namespace ktstr::testing {

// Debian's, or nothing. Its libraries go into the guest with it.
std::optional<std::string> findBpftool();

using MapBytes = std::map<std::string, std::vector<uint8_t>>;  // by key, and CPU where there is one each

struct MapDump {
  std::string name, type;
  MapBytes before, own, after;
};

// Of the scheduler's arrays and per-CPU arrays, and of hashes that bpftool makes and fills for it.
std::vector<MapDump> dumpMapsOfTheGuest(Watched& watched);

void expectSameMaps(const std::vector<MapDump>& dumps);

}  // namespace ktstr::testing
