#include "tests/system/bpftool_expectations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "monitor/bpf_values.h"
#include "monitor/inspect.h"
#include "protocol/process.h"
#include "protocol/text.h"
#include "tests/system/core_expectations.h"

namespace ktstr::testing {
namespace {

constexpr size_t maxEntries = 1000;

std::string place(const std::vector<uint8_t>& key, std::optional<uint32_t> cpu) {
  std::string words;
  for (const uint8_t byte : key) words += text(hex(byte), ' ');
  return cpu ? text(words, "on CPU ", *cpu) : words;
}

std::vector<uint8_t> plain(const std::vector<std::byte>& bytes) {
  std::vector<uint8_t> all(bytes.size());
  if (!bytes.empty()) memcpy(all.data(), bytes.data(), bytes.size());
  return all;
}

MapBytes readWithMonitor(Watched& watched, const BpfMap& map) {
  const auto entries =
      readMapEntries(*watched.attachment->kernel, watched.attachment->analysis->layout(), map, maxEntries);
  EXPECT_EQ(entries.problem, "") << map.name;
  MapBytes all;
  for (const auto& entry : entries.found) {
    for (const auto& value : entry.values) all[place(plain(entry.key), value.cpu)] = plain(value.bytes);
  }
  return all;
}

// Every member of a value by its place. Numbers are compared as such: bpftool shows pointers as numbers.
void flatten(const nlohmann::json& value, const std::string& place, MapLeaves& leaves) {
  // bpftool's way with a section: {".bss":[{"NAME":...},{"NAME":...}]}
  const bool isSection = value.is_object() && value.size() == 1 && value.begin().key().starts_with('.') &&
                         value.begin().value().is_array();
  if (isSection) {
    for (const auto& variable : value.begin().value()) flatten(variable, place, leaves);
  } else if (value.is_object()) {
    for (const auto& [name, member] : value.items())
      flatten(member, name.empty() ? place : text(place, '.', name), leaves);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) flatten(value[i], text(place, '[', i, ']'), leaves);
  } else if (value.is_string() && value.get<std::string>().starts_with("0x")) {
    leaves[place] = text(std::stoull(value.get<std::string>(), nullptr, 16));
  } else {
    leaves[place] = value.dump();
  }
}

void addTyped(const nlohmann::json& key, const nlohmann::json* cpu, const nlohmann::json& value,
              MapLeaves& leaves) {
  flatten(value, text('[', key.dump(), ']', cpu ? text(" on CPU ", cpu->dump()) : ""), leaves);
}

// As `ktstr-monitor map` prints it.
MapLeaves readTyped(Watched& watched, const BpfMap& map) {
  const auto findings =
      inspect(*watched.attachment, {.command = "map", .arguments = {text('#', map.id)}, .limit = maxEntries});
  MapLeaves leaves;
  for (const auto& record : findings.records) {
    const auto entry = nlohmann::json::parse(valueAsJson(record));
    addTyped(entry.at("key"), entry.contains("cpu") ? &entry["cpu"] : nullptr, entry.at("value"), leaves);
  }
  return leaves;
}

// Up to eight bytes of a value, as a counter.
uint64_t wordAt(const std::vector<uint8_t>& bytes, size_t at) {
  uint64_t word = 0;
  memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
  return word;
}

struct OwnDump {
  MapBytes bytes;
  MapLeaves typed;
};

// ["0x2a","0x00",...]
std::vector<uint8_t> bytesOf(const nlohmann::json& list) {
  std::vector<uint8_t> bytes;
  for (const std::string word : list) bytes.push_back(static_cast<uint8_t>(std::stoul(word, nullptr, 16)));
  return bytes;
}

// All at once: starting bpftool takes longer than a dump.
std::vector<OwnDump> readWithBpftool(GuestShell& guest, const std::vector<BpfMap>& maps) {
  std::string ids;
  for (const auto& map : maps) ids += text(' ', map.id);
  guest.run(text("for i in", ids, "; do echo map dump id $i; done > /tmp/batch"));
  const std::string said = guest.run("bpftool -j batch file /tmp/batch 2>&1");
  const auto commands = nlohmann::json::parse(said, nullptr, false);
  if (!commands.is_array() || commands.size() != maps.size()) throw std::runtime_error(said);
  std::vector<OwnDump> dumps;
  for (const auto& command : commands) {
    auto& [all, typed] = dumps.emplace_back();
    for (const auto& entry : command.at("output")) {
      const auto key = bytesOf(entry.at("key"));
      if (entry.contains("value")) all[place(key, std::nullopt)] = bytesOf(entry["value"]);
      for (const auto& value : entry.value("values", nlohmann::json::array()))
        all[place(key, value.at("cpu").get<uint32_t>())] = bytesOf(value.at("value"));
      if (!entry.contains("formatted")) continue;
      const auto& formatted = entry["formatted"];
      const auto number = formatted.value("key", nlohmann::json(wordAt(key, 0)));  // of a section: no type
      if (formatted.contains("value")) addTyped(number, nullptr, formatted["value"], typed);
      for (const auto& value : formatted.value("values", nlohmann::json::array()))
        addTyped(number, &value.at("cpu"), value.at("value"), typed);
    }
  }
  return dumps;
}

void expectBetween(const std::string& where, const std::vector<uint8_t>& before,
                   const std::vector<uint8_t>& own, const std::vector<uint8_t>& after) {
  ASSERT_EQ(before.size(), own.size()) << where;
  ASSERT_EQ(after.size(), own.size()) << where;
  for (size_t at = 0; at < own.size(); at += sizeof(uint64_t)) {
    EXPECT_LE(wordAt(before, at), wordAt(own, at)) << where << " at " << at;
    EXPECT_LE(wordAt(own, at), wordAt(after, at)) << where << " at " << at;
  }
}

// A whole number without a sign, which may be a counter.
std::optional<uint64_t> counterOf(const std::string& leaf) {
  const bool isNumber = !leaf.empty() && leaf.find_first_not_of("0123456789") == std::string::npos;
  return isNumber ? std::optional(std::stoull(leaf)) : std::nullopt;
}

void expectLeafBetween(const std::string& where, const std::string& before, const std::string& own,
                       const std::string& after) {
  const auto low = counterOf(before), seen = counterOf(own), high = counterOf(after);
  if (low && seen && high) {
    EXPECT_LE(*low, *seen) << where;
    EXPECT_LE(*seen, *high) << where;
  } else {
    EXPECT_TRUE(own == before || own == after) << where << ": " << own << ", not " << before << ", " << after;
  }
}

// A hash of each kind, with three entries.
void makeHashes(GuestShell& guest) {
  guest.run("mkdir /maps; mount -t bpf bpf /maps");
  guest.run(
      "for t in hash lru_hash percpu_hash lru_percpu_hash; do echo map create /maps/$t type $t key 8 value 8 "
      "entries 64 name "
      "$t; "
      "done > /tmp/batch");
  guest.run(
      "for t in hash lru_hash percpu_hash lru_percpu_hash; do for i in 1 2 3; do echo map update pinned "
      "/maps/$t "
      "key $i 0 0 0 0 0 0 9 value 7 0 0 0 0 0 0 $i; done; done >> /tmp/batch");
  EXPECT_EQ(guest.run("bpftool batch file /tmp/batch 2>&1 | tail -n 1"), "processed 16 commands\n");
}

bool isDumped(uint32_t type) {
  switch (type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::optional<std::string> findBpftool() {
  if (auto found = findProgram("bpftool")) return found;
  constexpr const char* ofDebian = "/usr/sbin/bpftool";  // not in everybody's PATH
  return access(ofDebian, X_OK) == 0 ? std::optional<std::string>(ofDebian) : std::nullopt;
}

std::vector<MapDump> dumpMapsOfTheGuest(Watched& watched) {
  makeHashes(watched.guest);
  auto dumps = dumpMapsOfTheScheduler(watched);
  watched.guest.run("umount /maps");
  return dumps;
}

std::vector<MapDump> dumpMapsOfTheScheduler(Watched& watched) {
  const BpfObjects objects(*watched.attachment->kernel, watched.attachment->analysis->layout());
  std::vector<BpfMap> maps = objects.maps().found;
  std::erase_if(maps, [](const BpfMap& map) { return !isDumped(map.type); });
  std::vector<MapDump> dumps;
  for (const auto& map : maps) {
    auto& dump = dumps.emplace_back();
    dump.name = map.name;
    dump.type = mapTypeName(map.type);
    dump.before = readWithMonitor(watched, map);
    dump.typedBefore = readTyped(watched, map);
  }
  const auto own = readWithBpftool(watched.guest, maps);
  for (size_t i = 0; i < maps.size(); ++i) {
    dumps[i].own = own[i].bytes;
    dumps[i].typedOwn = own[i].typed;
    dumps[i].after = readWithMonitor(watched, maps[i]);
    dumps[i].typedAfter = readTyped(watched, maps[i]);
  }
  return dumps;
}

void expectSameValues(const std::vector<MapDump>& dumps) {
  for (const auto& dump : dumps) {
    EXPECT_GT(dump.own.size(), 0u) << dump.name;
    EXPECT_EQ(dump.before.size(), dump.own.size()) << dump.name;
    EXPECT_EQ(dump.after.size(), dump.own.size()) << dump.name;
    for (const auto& [key, own] : dump.own) {
      ASSERT_TRUE(dump.before.contains(key) && dump.after.contains(key)) << dump.name << ' ' << key;
      expectBetween(dump.name + ' ' + key, dump.before.at(key), own, dump.after.at(key));
    }
    if (dump.typedOwn.empty()) continue;
    EXPECT_EQ(dump.typedBefore.size(), dump.typedOwn.size()) << dump.name;
    for (const auto& [member, own] : dump.typedOwn) {
      ASSERT_TRUE(dump.typedBefore.contains(member) && dump.typedAfter.contains(member))
          << dump.name << ' ' << member << ": " << own;
      expectLeafBetween(dump.name + ' ' + member, dump.typedBefore.at(member), own,
                        dump.typedAfter.at(member));
    }
  }
}

void expectSameMaps(const std::vector<MapDump>& dumps) {
  expectSameValues(dumps);
  std::map<std::string, unsigned> types;
  size_t equal = 0, typed = 0;
  for (const auto& dump : dumps) {
    ++types[dump.type];
    equal += dump.before == dump.own && dump.own == dump.after;
    typed += dump.typedOwn.size() > 0;
  }
  EXPECT_GE(types["array"], 3u) << ".bss, .data, .rodata";
  for (const char* type : {"percpu_array", "hash", "lru_hash", "percpu_hash", "lru_percpu_hash"})
    EXPECT_GE(types[type], 1u) << type;
  EXPECT_GE(typed, 4u) << ".bss, .data, .rodata, and the scheduler's statistics";
  EXPECT_GE(equal, 5u) << "into .data, .rodata and the hashes nobody writes";
}

void expectNotesOfTheFault(Watched& watched) {
  watched.start("fault");
  const auto& kernel = *watched.attachment->kernel;
  const auto& layout = watched.attachment->analysis->layout();
  const auto ring = parseLines(asJsonLines(inspect(*watched.attachment, {"map", {"note_ring"}}).records));
  ASSERT_EQ(ring.size(), 4u);
  EXPECT_EQ(ring[0].at("consumer"), 0u);
  EXPECT_EQ(ring[0].at("producer"), 3u * (8 + 32)) << "a header and a note each";
  EXPECT_THAT(ring[3].at("value").get<std::string>(),
              ::testing::StartsWith("0300000004000000fdffffffffffffff61206e6f7465000000"))
      << "3, FAULT_STALL, -3, a note";
  const auto entries =
      readMapEntries(kernel, layout, findMap(BpfObjects(kernel, layout).maps().found, "notes"), 16);
  EXPECT_EQ(entries.found.size(), 3u);
  if (findBpftool()) {
    const auto dumps = dumpMapsOfTheScheduler(watched);
    expectSameValues(dumps);
    const auto notes = std::find_if(dumps.begin(), dumps.end(), [](auto& d) { return d.name == "notes"; });
    ASSERT_NE(notes, dumps.end());
    EXPECT_EQ(notes->type, "hash");
    EXPECT_EQ(notes->typedOwn.size(), 3u * 4);
    EXPECT_EQ(notes->typedOwn, notes->typedBefore);
    EXPECT_EQ(notes->typedOwn.at("[2].about"), "\"FAULT_STALL\"");
  }
  watched.guest.run("kill $(pidof fault)");
  expectSchedulerGone(watched);
}

}  // namespace ktstr::testing
