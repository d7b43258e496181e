#include "monitor/bpf_objects.h"

#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>

#include "monitor/guest_xarray.h"
#include "monitor/kernel_fields.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxNameBytes = 32;

std::string typeName(const char* known, uint32_t type) {
  return known ? known : text("type ", type);
}

std::string listOf(const std::vector<BpfMap>& maps) {
  std::string list;
  for (const auto& map : maps) list += text(list.empty() ? "" : ", ", map.name, " (#", map.id, ")");
  return list.empty() ? "none" : list;
}

// "#12", a name, or the end of one.
template <typename T>
std::vector<T> match(const std::vector<T>& all, std::string_view wanted) {
  const auto filter = [&](auto keep) {
    std::vector<T> result;
    std::copy_if(all.begin(), all.end(), std::back_inserter(result), keep);
    return result;
  };
  if (wanted.starts_with('#')) return filter([&](const T& one) { return text("#", one.id) == wanted; });
  auto exact = filter([&](const T& one) { return one.name == wanted; });
  if (!exact.empty() || wanted.empty()) return exact;
  return filter([&](const T& one) { return one.name.ends_with(wanted); });
}

}  // namespace

std::string mapTypeName(uint32_t type) {
  if (type == arenaMapType) return "arena";
  if (type == cgroupStorageMapType) return "cgrp_storage";
  return typeName(libbpf_bpf_map_type_str(static_cast<bpf_map_type>(type)), type);
}

std::string programTypeName(uint32_t type) {
  return typeName(libbpf_bpf_prog_type_str(static_cast<bpf_prog_type>(type)), type);
}

bool BpfMap::isRingBuffer() const {
  return type == BPF_MAP_TYPE_RINGBUF || type == BPF_MAP_TYPE_USER_RINGBUF;
}

template <typename T>
std::optional<T> BpfObjects::field(uint64_t address, const char* name) const {
  const auto member = layout_.member(name);
  return member && member->size == sizeof(T) ? kernel_.read<T>(address + member->offset) : std::nullopt;
}

std::string BpfObjects::nameAt(uint64_t address, const char* member) const {
  const auto place = layout_.member(member);
  if (!place) return {};
  auto name =
      kernel_.string(address + place->offset, std::min<size_t>(place->size, maxNameBytes)).value_or("");
  for (char& c : name) c = c < ' ' || c > '~' ? '?' : c;
  return name;
}

Walk<uint64_t> BpfObjects::walk(const char* idr) const {
  const auto address = kernel_.symbol(idr);
  if (!address) return {{}, text("no symbol ", idr)};
  auto entries = walkIdr(kernel_, layout_, *address, maxBpfObjects);
  Walk<uint64_t> result{{}, std::move(entries.problem)};
  for (const auto& entry : entries.found) result.found.push_back(entry.pointer);
  return result;
}

std::optional<BpfMap> BpfObjects::map(uint64_t address) const {
  BpfMap map;
  map.address = address;
  const auto id = field<uint32_t>(address, "bpf_map.id"), type = field<uint32_t>(address, "bpf_map.map_type"),
             keySize = field<uint32_t>(address, "bpf_map.key_size"),
             valueSize = field<uint32_t>(address, "bpf_map.value_size"),
             maxEntries = field<uint32_t>(address, "bpf_map.max_entries");
  if (!id || !type || !keySize || !valueSize || !maxEntries) return std::nullopt;
  map.id = *id;
  map.type = *type;
  map.keySize = *keySize;
  map.valueSize = *valueSize;
  map.maxEntries = *maxEntries;
  map.name = nameAt(address, "bpf_map.name");
  map.flags = field<uint32_t>(address, "bpf_map.map_flags").value_or(0);
  map.frozen = field<uint8_t>(address, "bpf_map.frozen").value_or(0) != 0;
  map.btf = field<uint64_t>(address, "bpf_map.btf").value_or(0);
  map.keyType = field<uint32_t>(address, "bpf_map.btf_key_type_id").value_or(0);
  const bool isStructOps = map.type == BPF_MAP_TYPE_STRUCT_OPS;
  map.valueType = field<uint32_t>(address, isStructOps ? "bpf_map.btf_vmlinux_value_type_id"
                                                       : "bpf_map.btf_value_type_id")
                      .value_or(0);
  return map;
}

// The kernel keeps 15 characters of a program's name, but all in the symbol it gives its code
// (bpf_get_prog_name()): bpf_prog_, the program's tag as 16 hex digits, _, the name.
std::string BpfObjects::programName(uint64_t aux) const {
  constexpr size_t before = sizeof "bpf_prog_0123456789abcdef_" - 1;
  const std::string name = nameAt(aux, "bpf_prog_aux.name");
  const auto symbol = KernelFields(kernel_, layout_).chars(aux, "bpf_prog_aux.ksym.name");
  const bool isIt = symbol.size() > before && symbol.compare(before, name.size(), name) == 0;
  return isIt ? symbol.substr(before) : name;
}

std::optional<BpfProgram> BpfObjects::program(uint64_t address) const {
  const auto type = field<uint32_t>(address, "bpf_prog.type");
  const auto aux = field<uint64_t>(address, "bpf_prog.aux");
  const auto id = aux ? field<uint32_t>(*aux, "bpf_prog_aux.id") : std::nullopt;
  if (!type || !id) return std::nullopt;
  BpfProgram program;
  program.address = address;
  program.id = *id;
  program.type = *type;
  program.name = programName(*aux);
  program.verifiedInstructions = field<uint32_t>(*aux, "bpf_prog_aux.verified_insns");
  return program;
}

void BpfObjects::addRunStats(const std::vector<uint32_t>& cpus, BpfProgram& program) const {
  const auto stats = field<uint64_t>(program.address, "bpf_prog.stats").value_or(0);
  if (stats == 0) return;
  const std::pair<std::optional<Field>, std::optional<uint64_t>*> sums[] = {
      {layout_.member("bpf_prog_stats.cnt"), &program.runs},
      {layout_.member("bpf_prog_stats.nsecs"), &program.runNanos},
      {layout_.member("bpf_prog_stats.misses"), &program.misses}};
  for (const uint32_t cpu : cpus) {
    const auto address = kernel_.perCpu(stats, cpu);
    for (const auto& [member, sum] : sums) {
      const auto value = address && member && member->size == 8
                             ? kernel_.read<uint64_t>(*address + member->offset)
                             : std::nullopt;
      if (value) *sum = sum->value_or(0) + *value;
    }
  }
}

Walk<BpfMap> BpfObjects::maps() const {
  auto addresses = walk("map_idr");
  Walk<BpfMap> maps{{}, std::move(addresses.problem)};
  if (!layout_.member("bpf_map.id")) maps.problem = layout_.whyAbsent("bpf_map.id");
  for (const uint64_t address : addresses.found) {
    if (auto one = map(address)) maps.found.push_back(std::move(*one));
  }
  return maps;
}

std::vector<uint64_t> BpfObjects::usedMaps(uint64_t program) const {
  constexpr uint32_t most = 256;
  std::vector<uint64_t> maps;
  const auto aux = field<uint64_t>(program, "bpf_prog.aux").value_or(0);
  const auto used = aux ? field<uint64_t>(aux, "bpf_prog_aux.used_maps") : std::nullopt;
  const auto number = aux ? field<uint32_t>(aux, "bpf_prog_aux.used_map_cnt").value_or(0) : 0;
  for (uint32_t i = 0; used && i < std::min(number, most); ++i) {
    if (const auto map = kernel_.read<uint64_t>(*used + uint64_t{8} * i)) maps.push_back(*map);
  }
  return maps;
}

std::optional<uint64_t> BpfObjects::arenaBeside(const BpfMap& map) const {
  for (const uint64_t program : walk("prog_idr").found) {
    const auto used = usedMaps(program);
    const auto aux = field<uint64_t>(program, "bpf_prog.aux").value_or(0);
    const auto arena = aux ? field<uint64_t>(aux, "bpf_prog_aux.arena").value_or(0) : 0;
    if (arena != 0 && std::find(used.begin(), used.end(), map.address) != used.end()) return arena;
  }
  return std::nullopt;
}

Walk<BpfProgram> BpfObjects::programs() const {
  auto addresses = walk("prog_idr");
  Walk<BpfProgram> programs{{}, std::move(addresses.problem)};
  if (!layout_.member("bpf_prog.aux")) programs.problem = layout_.whyAbsent("bpf_prog.aux");
  const auto cpus = kernel_.possibleCpus();
  size_t left = maxRunStats;
  for (const uint64_t address : addresses.found) {
    auto one = program(address);
    if (!one) continue;
    if (cpus.size() <= left)
      addRunStats(cpus, *one);
    else if (programs.problem.empty())
      programs.problem = text("no runs of program #", one->id, " and those after it: they are counted on ",
                              cpus.size(), " CPUs");
    left -= std::min(left, cpus.size());
    programs.found.push_back(std::move(*one));
  }
  return programs;
}

std::vector<BpfMap> matchMaps(const std::vector<BpfMap>& maps, std::string_view wanted) {
  return match(maps, wanted);
}

std::vector<BpfProgram> matchPrograms(const std::vector<BpfProgram>& programs, std::string_view wanted) {
  return match(programs, wanted);
}

BpfMap findMap(const std::vector<BpfMap>& maps, std::string_view wanted) {
  const auto found = matchMaps(maps, wanted);
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    throw Error(ExitCode::usage, "map-unknown", text("no BPF map is called ", wanted),
                "there are: " + listOf(maps));
  }
  throw Error(ExitCode::usage, "map-ambiguous", text(found.size(), " BPF maps are called ", wanted),
              "choose one by id: " + listOf(found));
}

}  // namespace ktstr
