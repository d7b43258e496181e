#include "tests/system/bpftool_expectations.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "monitor/bpf_values.h"
#include "protocol/process.h"
#include "protocol/text.h"

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

// ["0x2a","0x00",...]
std::vector<uint8_t> bytesOf(const nlohmann::json& list) {
  std::vector<uint8_t> bytes;
  for (const std::string word : list) bytes.push_back(static_cast<uint8_t>(std::stoul(word, nullptr, 16)));
  return bytes;
}

// All at once: starting bpftool takes longer than a dump.
std::vector<MapBytes> readWithBpftool(GuestShell& guest, const std::vector<BpfMap>& maps) {
  std::string ids;
  for (const auto& map : maps) ids += text(' ', map.id);
  guest.run(text("for i in", ids, "; do echo map dump id $i; done > /tmp/batch"));
  const std::string said = guest.run("bpftool -j batch file /tmp/batch 2>&1");
  const auto commands = nlohmann::json::parse(said, nullptr, false);
  if (!commands.is_array() || commands.size() != maps.size()) throw std::runtime_error(said);
  std::vector<MapBytes> dumps;
  for (const auto& command : commands) {
    MapBytes& all = dumps.emplace_back();
    for (const auto& entry : command.at("output")) {
      const auto key = bytesOf(entry.at("key"));
      if (entry.contains("value")) all[place(key, std::nullopt)] = bytesOf(entry["value"]);
      for (const auto& value : entry.value("values", nlohmann::json::array()))
        all[place(key, value.at("cpu").get<uint32_t>())] = bytesOf(value.at("value"));
    }
  }
  return dumps;
}

// Up to eight bytes of a value, as a counter.
uint64_t wordAt(const std::vector<uint8_t>& bytes, size_t at) {
  uint64_t word = 0;
  memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
  return word;
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

// A hash of each kind, with three entries.
void makeHashes(GuestShell& guest) {
  guest.run("mkdir /maps; mount -t bpf bpf /maps");
  guest.run(
      "for t in hash lru_hash percpu_hash; do echo map create /maps/$t type $t key 8 value 8 entries 64 name "
      "$t; "
      "done > /tmp/batch");
  guest.run(
      "for t in hash lru_hash percpu_hash; do for i in 1 2 3; do echo map update pinned /maps/$t "
      "key $i 0 0 0 0 0 0 9 value 7 0 0 0 0 0 0 $i; done; done >> /tmp/batch");
  EXPECT_EQ(guest.run("bpftool batch file /tmp/batch 2>&1 | tail -n 1"), "processed 12 commands\n");
}

bool isDumped(uint32_t type) {
  switch (type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::optional<std::string> findBpftool() {
  if (const auto found = findProgram("bpftool")) return found;
  constexpr const char* ofDebian = "/usr/sbin/bpftool";  // not in everybody's PATH
  return access(ofDebian, X_OK) == 0 ? std::optional<std::string>(ofDebian) : std::nullopt;
}

std::vector<MapDump> dumpMapsOfTheGuest(Watched& watched) {
  makeHashes(watched.guest);
  const BpfObjects objects(*watched.attachment->kernel, watched.attachment->analysis->layout());
  std::vector<BpfMap> maps = objects.maps().found;
  std::erase_if(maps, [](const BpfMap& map) { return !isDumped(map.type); });
  std::vector<MapDump> dumps;
  for (const auto& map : maps)
    dumps.push_back({map.name, mapTypeName(map.type), readWithMonitor(watched, map), {}, {}});
  const auto own = readWithBpftool(watched.guest, maps);
  for (size_t i = 0; i < maps.size(); ++i) {
    dumps[i].own = own[i];
    dumps[i].after = readWithMonitor(watched, maps[i]);
  }
  watched.guest.run("umount /maps");
  return dumps;
}

void expectSameMaps(const std::vector<MapDump>& dumps) {
  std::map<std::string, unsigned> types;
  size_t equal = 0;
  for (const auto& dump : dumps) {
    ++types[dump.type];
    EXPECT_GT(dump.own.size(), 0u) << dump.name;
    EXPECT_EQ(dump.before.size(), dump.own.size()) << dump.name;
    EXPECT_EQ(dump.after.size(), dump.own.size()) << dump.name;
    equal += dump.before == dump.own && dump.own == dump.after;
    for (const auto& [key, own] : dump.own) {
      ASSERT_TRUE(dump.before.contains(key) && dump.after.contains(key)) << dump.name << ' ' << key;
      expectBetween(dump.name + ' ' + key, dump.before.at(key), own, dump.after.at(key));
    }
  }
  EXPECT_GE(types["array"], 3u) << ".bss, .data, .rodata";
  for (const char* type : {"percpu_array", "hash", "lru_hash", "percpu_hash"})
    EXPECT_GE(types[type], 1u) << type;
  EXPECT_GE(equal, 5u) << "into .data, .rodata and the hashes nobody writes";
}

}  // namespace ktstr::testing
