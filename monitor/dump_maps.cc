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
      if (!source_.hasTime("maps")) break;
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
    std::set<uint64_t> all, own, types;
    for (const auto& map : maps) all.insert(map.address);
    for (const auto& map : maps) {
      if (map.type != BPF_MAP_TYPE_STRUCT_OPS || !isOfScheduler(map.address)) continue;
      if (!source_.hasTime("maps")) break;
      own.insert(map.address);
      addUsed(map.address, all, own);
    }
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

  // `all`: the kernel's, by address.
  void addUsed(uint64_t structOps, const std::set<uint64_t>& all, std::set<uint64_t>& own) {
    for (const char* name : {"bpf_struct_ops_map.links", "bpf_struct_ops_map.funcs_cnt"}) {
      if (!source_.layout().member(name)) return source_.absent.add("maps", source_.layout().whyAbsent(name));
    }
    for (const uint64_t program : structOpsPrograms(fields_, structOps)) {
      for (const uint64_t used : BpfObjects(source_.kernel(), source_.layout()).usedMaps(program)) {
        if (all.contains(used)) own.insert(used);
      }
    }
  }

  ProgramTypesCopy copyTypes(uint64_t btf) {
    auto copy = copyProgramTypes(source_.kernel(), source_.layout(), btf);
    if (copy.bytes.size() > typesLeft_)
      return {{}, text("the types together have more than ", dump_limits::typeBytes >> 20, " MiB")};
    typesLeft_ -= copy.bytes.size();
    return copy;
  }

  // `left`: what the maps may still cost together.
  Walk<MapEntry> read(const BpfMap& map, size_t& left) {
    auto entries = readMapEntries(source_.kernel(), source_.layout(), map, dump_limits::mapEntries, left);
    for (const auto& entry : entries.found) left -= std::min(left, entry.cost());
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

class MapRendering {
 public:
  explicit MapRendering(const DumpSource& source) : source_(source) {}

  void render(const MapCopy& copy, const MapMeaning& meaning, rpc::MapState::Builder out) {
    const BpfMap& map = copy.map;
    out.setId(map.id);
    out.setName(map.name);
    out.setType(typeConstant(map.type));
    out.setMaxEntries(map.maxEntries);
    out.setValueBytes(map.valueSize);
    std::vector<Shown> shown;
    std::string problem = show(copy, meaning, shown);
    auto list = out.initEntries(static_cast<unsigned>(shown.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setKey(shown[i].key);
      list[i].setCpu(shown[i].cpu);
      list[i].setValue(shown[i].value);
    }
    const auto& types = meaning.types.problem;
    if (!types.empty() && !shown.empty()) problem += (problem.empty() ? "" : "; ") + types;
    out.setIncomplete(problem);
  }

 private:
  struct Shown {
    std::string key, value;
    int32_t cpu;
  };

  // Why there are fewer than there should be.
  std::string show(const MapCopy& copy, const MapMeaning& meaning, std::vector<Shown>& shown) {
    for (const auto& entry : copy.entries.found) {
      std::string key;
      for (const auto& value : entry.values) {
        if (!source_.hasTime("maps")) return "there was no time to render all of it";
        if (key.empty()) key = keyOf(copy.map, entry, meaning);
        Shown one{key, asJson(entry, copy.map.valueType, value.bytes, meaning),
                  value.cpu ? static_cast<int32_t>(*value.cpu) : -1};
        const size_t size = one.key.size() + one.value.size() + sizeof one;
        if (size > left_)
          return left_ = 0,
                 text("the maps together are more than ", dump_limits::mapText >> 20, " MiB of text");
        left_ -= size;
        shown.push_back(std::move(one));
      }
    }
    return copy.entries.problem;
  }

  std::string keyOf(const BpfMap& map, const MapEntry& entry, const MapMeaning& meaning) {
    if (entry.owner) return valueAsJson(*entry.owner);
    const bool isIndex = map.keyType == 0 && map.keySize == 4 && entry.key.size() == 4;
    return isIndex ? text(loadGuest<uint32_t>(entry.key.data()))
                   : asJson(entry, map.keyType, entry.key, meaning);
  }

  std::string asJson(const MapEntry& entry, uint32_t type, const std::vector<std::byte>& bytes,
                     const MapMeaning& meaning) {
    if (!meaning.types.types || type == 0) return valueAsJson(Value::ofBytes(bytes));
    Renderer renderer(*meaning.types.types, source_.kernel(), {.arenaHops = 1}, &entry.functions,
                      meaning.arena);
    return valueAsJson(renderer.render({type, 0, 0, 0}, bytes));
  }

  const DumpSource& source_;
  size_t left_ = dump_limits::mapText;  // that all maps may still have
};

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
  std::optional<ProgramTypes> kernelTypes;
  MapRendering rendering(source);
  auto list = out.initMaps(static_cast<unsigned>(copies.maps.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const MapCopy& copy = copies.maps[i];
    const bool isStructOps = copy.map.type == BPF_MAP_TYPE_STRUCT_OPS;
    if (isStructOps && !kernelTypes) kernelTypes = readStructOpsTypes(source.fields, copy.map);
    rendering.render(
        copy,
        {isStructOps ? *kernelTypes : types.at(copy.map.btf), arena && !isStructOps ? &*arena : nullptr},
        list[i]);
  }
}

}  // namespace ktstr
