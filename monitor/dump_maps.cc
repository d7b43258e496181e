// The BPF maps of the attached scheduler: those that its programs use, and those that were loaded with the
// same types. Its struct_ops map is the one whose sched_ext_ops.priv is the scheduler; that has links to the
// programs (kernel/bpf/bpf_struct_ops.c).
#include <linux/bpf.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "monitor/dump_parts.h"
#include "monitor/renderer.h"
#include "monitor/struct_ops.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t entryBytes = 64;  // what an entry costs besides its bytes

class MapSection {
 public:
  explicit MapSection(const DumpSource& source) : source_(source), fields_(source.fields) {}

  MapCopies copy() {
    MapCopies copies;
    auto walk = BpfObjects(source_.kernel(), source_.layout()).maps();
    if (!walk.problem.empty()) source_.absent.add("maps", walk.problem);
    const auto own = choose(walk.found);
    size_t left = dump_limits::mapBytes;
    for (auto& map : walk.found) {
      if (!own.contains(map.address)) continue;
      if (copies.maps.size() == dump_limits::maps) {
        source_.absent.add("maps", text("the scheduler has more than ", dump_limits::maps));
        break;
      }
      auto entries = read(map, left);
      if (!copies.types.contains(map.btf)) copies.types[map.btf] = copyTypes(map.btf);
      const auto start =
          map.type == arenaMapType ? arenaStart(source_.kernel(), source_.layout(), map) : std::nullopt;
      copies.maps.push_back({std::move(map), std::move(entries), start});
    }
    return copies;
  }

 private:
  std::set<uint64_t> choose(const std::vector<BpfMap>& maps) {
    std::set<uint64_t> own;
    for (const auto& map : maps) {
      if (map.type == BPF_MAP_TYPE_STRUCT_OPS && isOfScheduler(map.address)) {
        own.insert(map.address);
        addUsed(map.address, own);
      }
    }
    std::set<uint64_t> types;
    for (const auto& map : maps) {
      if (own.contains(map.address) && map.btf != 0) types.insert(map.btf);
    }
    for (const auto& map : maps) {
      if (types.contains(map.btf)) own.insert(map.address);
    }
    if (own.empty())
      source_.absent.add("maps", source_.scheduler == 0
                                     ? "no scheduler is attached"
                                     : "no struct_ops map leads to the attached scheduler");
    return own;
  }

  bool isOfScheduler(uint64_t map) {
    const auto ops = fields_.at(map, "bpf_struct_ops_map.kvalue.data");
    return source_.scheduler != 0 && ops &&
           fields_.get<uint64_t>(*ops, "sched_ext_ops.priv") == source_.scheduler;
  }

  void addUsed(uint64_t structOps, std::set<uint64_t>& own) {
    for (const char* name : {"bpf_struct_ops_map.links", "bpf_struct_ops_map.funcs_cnt"}) {
      if (!source_.layout().member(name)) return source_.absent.add("maps", source_.layout().whyAbsent(name));
    }
    for (const uint64_t program : structOpsPrograms(fields_, structOps)) {
      const auto used = BpfObjects(source_.kernel(), source_.layout()).usedMaps(program);
      own.insert(used.begin(), used.end());
    }
  }

  ProgramTypesCopy copyTypes(uint64_t btf) {
    auto copy = copyProgramTypes(source_.kernel(), source_.layout(), btf);
    if (copy.bytes.size() > typesLeft_)
      return {{}, text("the types together have more than ", dump_limits::typeBytes >> 20, " MiB")};
    typesLeft_ -= copy.bytes.size();
    return copy;
  }

  Walk<MapEntry> read(const BpfMap& map, size_t& left) {
    const uint64_t each =
        uint64_t{map.keySize} + uint64_t{map.valueSize} * std::max<size_t>(1, source_.cpus.size());
    const size_t limit = std::min<uint64_t>(dump_limits::mapEntries, left / (entryBytes + each));
    if (limit == 0)
      return {{}, text("the maps together have more than ", dump_limits::mapBytes >> 20, " MiB")};
    auto entries = readMapEntries(source_.kernel(), source_.layout(), map, limit);
    for (const auto& entry : entries.found) {
      for (const auto& value : entry.values)
        left -= std::min(left, entryBytes + entry.key.size() + value.bytes.size());
    }
    return entries;
  }

  const DumpSource& source_;
  const KernelFields& fields_;
  size_t typesLeft_ = dump_limits::typeBytes;
};

std::string typeConstant(uint32_t type) {
  std::string name = "BPF_MAP_TYPE_" + mapTypeName(type);
  for (char& c : name) c = c == ' ' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

// What tells a map's bytes: types, and the memory that pointers of their program lead to, if it has an arena.
struct MapMeaning {
  const ProgramTypes& types;
  const ArenaView* arena;
};

// `left`: bytes of text that all maps may still have.
void renderMap(const DumpSource& source, const MapCopy& copy, const MapMeaning& meaning, size_t& left,
               rpc::MapState::Builder out) {
  const ProgramTypes& types = meaning.types;
  const BpfMap& map = copy.map;
  out.setId(map.id);
  out.setName(map.name);
  out.setType(typeConstant(map.type));
  out.setMaxEntries(map.maxEntries);
  out.setValueBytes(map.valueSize);
  struct Shown {
    std::string key, value;
    int32_t cpu;
  };
  std::vector<Shown> entries;
  std::string problem = copy.entries.problem;
  for (const auto& entry : copy.entries.found) {
    const auto shown = [&](uint32_t type, const std::vector<std::byte>& bytes) {
      if (!types.types || type == 0) return valueAsJson(Value::ofBytes(bytes));
      Renderer renderer(*types.types, source.kernel(), {.arenaHops = 1}, &entry.functions, meaning.arena);
      return valueAsJson(renderer.render({type, 0, 0, 0}, bytes));
    };
    const bool isIndex = map.keyType == 0 && map.keySize == 4 && entry.key.size() == 4;
    const std::string key = entry.owner ? valueAsJson(*entry.owner)
                            : isIndex   ? text(loadGuest<uint32_t>(entry.key.data()))
                                        : shown(map.keyType, entry.key);
    for (const auto& value : entry.values) {
      Shown one{key, shown(map.valueType, value.bytes), value.cpu ? static_cast<int32_t>(*value.cpu) : -1};
      const size_t size = one.key.size() + one.value.size();
      if (size > left)
        problem = text("the maps together are more than ", dump_limits::mapText >> 20, " MiB of text");
      if (size > left) break;
      left -= size;
      entries.push_back(std::move(one));
    }
  }
  auto list = out.initEntries(static_cast<unsigned>(entries.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setKey(entries[i].key);
    list[i].setCpu(entries[i].cpu);
    list[i].setValue(entries[i].value);
  }
  if (!types.problem.empty() && !entries.empty()) problem += (problem.empty() ? "" : "; ") + types.problem;
  out.setIncomplete(problem);
}

}  // namespace

MapCopies copyMaps(const DumpSource& source) {
  return MapSection(source).copy();
}

void renderMaps(const DumpSource& source, const MapCopies& copies, rpc::Dump::Builder out) {
  std::map<uint64_t, ProgramTypes> types;
  for (const auto& [address, copy] : copies.types) types[address] = parseProgramTypes(copy);
  std::optional<ArenaView> arena;
  for (const auto& copy : copies.maps) {
    if (copy.arenaStart && !arena) arena.emplace(*copy.arenaStart, copy.entries.found);
  }
  auto list = out.initMaps(static_cast<unsigned>(copies.maps.size()));
  size_t left = dump_limits::mapText;
  for (unsigned i = 0; i < list.size(); ++i) {
    const MapCopy& copy = copies.maps[i];
    if (copy.map.type == BPF_MAP_TYPE_STRUCT_OPS)
      renderMap(source, copy, {readStructOpsTypes(source.fields, copy.map), nullptr}, left, list[i]);
    else
      renderMap(source, copy, {types.at(copy.map.btf), arena ? &*arena : nullptr}, left, list[i]);
  }
}

}  // namespace ktstr
