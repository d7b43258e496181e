// What the monitor reads of BPF maps is what bpftool, run in the guest, dumps of them at that moment. Where
// the guest writes meanwhile, it writes counters: what bpftool shows lies between what was seen before and
// after. So do the bytes, and so do the members by the program's own types: bpftool's `formatted` beside what
// `ktstr-monitor map` prints.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/system/watched.h"

namespace ktstr::testing {

// Debian's, or nothing. Its libraries go into the guest with it.
std::optional<std::string> findBpftool();

using MapLeaves = std::map<std::string, std::string>;          // members to values, both as JSON has them
using MapBytes = std::map<std::string, std::vector<uint8_t>>;  // by key, and CPU where there is one each

struct MapDump {
  std::string name, type;
  MapBytes before, own, after;
  MapLeaves typedBefore, typedOwn, typedAfter;  // where the program's BTF has types of it
};

// Of the scheduler's arrays, per-CPU arrays and hashes, and of hashes that bpftool makes and fills for it.
std::vector<MapDump> dumpMapsOfTheGuest(Watched& watched);
// Of the scheduler's alone.
std::vector<MapDump> dumpMapsOfTheScheduler(Watched& watched);

// What dumpMapsOfTheGuest() says.
void expectSameMaps(const std::vector<MapDump>& dumps);
// Each by itself: the same entries, and each value between.
void expectSameValues(const std::vector<MapDump>& dumps);

// Starts scx_fault, packed as `fault`, in a guest without a scheduler: its maps, of kinds that the kernel
// tree's schedulers lack, have what it wrote into them once. Ends it.
void expectNotesOfTheFault(Watched& watched);

}  // namespace ktstr::testing
