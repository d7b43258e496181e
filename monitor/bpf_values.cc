#include "monitor/bpf_values.h"

#include <linux/bpf.h>

#include <cstring>

#include "monitor/guest_list.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t maxBuckets = uint64_t{1} << 20;
constexpr uint32_t maxTypeBytes = 16 << 20;

uint64_t roundUp8(uint64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

// Reads entries until one of the limits is reached.
class Entries {
 public:
  Entries(const GuestKernel& kernel, const KernelLayout& layout, const BpfMap& map, size_t limit)
      : kernel_(kernel), layout_(layout), map_(map), limit_(limit), cpus_(kernel.possibleCpus()) {}

  Walk<MapEntry> read() {
    switch (map_.type) {
      case BPF_MAP_TYPE_ARRAY:
        array("bpf_array.value", false);
        break;
      case BPF_MAP_TYPE_PERCPU_ARRAY:
        array("bpf_array.pptrs", true);
        break;
      case BPF_MAP_TYPE_HASH:
      case BPF_MAP_TYPE_LRU_HASH:
        hash(false);
        break;
      case BPF_MAP_TYPE_PERCPU_HASH:
      case BPF_MAP_TYPE_LRU_PERCPU_HASH:
        hash(true);
        break;
      default:
        walk_.problem = text("the values of ", mapTypeName(map_.type), " maps cannot be read");
    }
    return std::move(walk_);
  }

 private:
  std::optional<uint32_t> offset(const char* member) {
    const auto field = layout_.member(member);
    if (!field) walk_.problem = layout_.whyAbsent(member);
    return field ? std::optional(field->offset) : std::nullopt;
  }

  // False if there is no room for another entry.
  bool room() {
    if (walk_.found.size() == limit_) walk_.problem = text("there are more than ", limit_, " entries");
    return walk_.problem.empty();
  }

  bool copy(uint64_t address, uint64_t size, std::vector<std::byte>& out) {
    if (size > maxMapBytes - bytes_) {
      walk_.problem = text("there are more than ", maxMapBytes >> 20, " MiB of it");
      return false;
    }
    bytes_ += size;
    out.resize(size);
    return kernel_.copy(address, out);
  }

  void value(MapEntry& entry, uint64_t address, std::optional<uint32_t> cpu) {
    MapEntry::Value value{cpu, address, {}};
    if (copy(address, map_.valueSize, value.bytes)) entry.values.push_back(std::move(value));
  }

  // `address`: of the value, or of the pointer to the per-CPU values.
  void values(MapEntry& entry, uint64_t address, bool perCpu) {
    if (!perCpu) return value(entry, address, std::nullopt);
    const auto pointer = kernel_.read<uint64_t>(address);
    if (!pointer || *pointer == 0) return;
    for (const uint32_t cpu : cpus_) {
      if (const auto own = kernel_.perCpu(*pointer, cpu)) value(entry, *own, cpu);
    }
  }

  void array(const char* member, bool perCpu) {
    const auto first = offset(member);
    const uint64_t stride = perCpu ? 8 : roundUp8(map_.valueSize);
    for (uint32_t index = 0; first && index < map_.maxEntries && room(); ++index) {
      MapEntry entry;
      entry.key.resize(sizeof index);
      std::memcpy(entry.key.data(), &index, sizeof index);
      values(entry, map_.address + *first + stride * index, perCpu);
      walk_.found.push_back(std::move(entry));
    }
  }

  void hash(bool perCpu) {
    const auto buckets = offset("bpf_htab.buckets"), count = offset("bpf_htab.n_buckets"),
               head = offset("bucket.head"), key = offset("htab_elem.key");
    const auto bucket = layout_.member("bucket.#head");
    if (!buckets || !count || !head || !key || !bucket) return;
    const auto first = kernel_.read<uint64_t>(map_.address + *buckets);
    const auto number = kernel_.read<uint32_t>(map_.address + *count);
    if (!first || !number || *number > maxBuckets) {
      walk_.problem = "its table is not in memory or implausibly large";
      return;
    }
    for (uint32_t i = 0; i < *number && walk_.problem.empty(); ++i) {
      const auto chain =
          walkHlist(kernel_, *first + uint64_t{i} * bucket->size + *head, limit_ - walk_.found.size() + 1);
      for (const uint64_t element : chain.found) {
        if (!room()) return;
        addElement(element + *key, perCpu);
      }
      if (walk_.problem.empty() && !chain.problem.empty())
        walk_.problem = text("bucket ", i, ": ", chain.problem);
    }
  }

  void addElement(uint64_t key, bool perCpu) {
    MapEntry entry;
    if (!copy(key, map_.keySize, entry.key)) return;
    values(entry, key + roundUp8(map_.keySize), perCpu);
    walk_.found.push_back(std::move(entry));
  }

  const GuestKernel& kernel_;
  const KernelLayout& layout_;
  const BpfMap& map_;
  size_t limit_, bytes_ = 0;
  std::vector<uint32_t> cpus_;
  Walk<MapEntry> walk_;
};

}  // namespace

Walk<MapEntry> readMapEntries(const GuestKernel& kernel, const KernelLayout& layout, const BpfMap& map,
                              size_t limit) {
  return Entries(kernel, layout, map, limit).read();
}

std::optional<uint64_t> arrayElement(const KernelLayout& layout, const BpfMap& map, uint32_t index) {
  const auto first = layout.member("bpf_array.value");
  if (map.type != BPF_MAP_TYPE_ARRAY || !first || index >= map.maxEntries) return std::nullopt;
  return map.address + first->offset + roundUp8(map.valueSize) * index;
}

ProgramTypesCopy copyProgramTypes(const GuestKernel& kernel, const KernelLayout& layout, uint64_t address) {
  if (address == 0) return {{}, "the map has no types (BTF)"};
  const auto data = layout.member("btf.data"), size = layout.member("btf.data_size"),
             base = layout.member("btf.base_btf");
  if (!data || !size) return {{}, layout.whyAbsent("btf.data")};
  const auto begin = kernel.read<uint64_t>(address + data->offset);
  const auto length = kernel.read<uint32_t>(address + size->offset);
  if (base && kernel.read<uint64_t>(address + base->offset).value_or(0) != 0)
    return {{}, "its types are a module's"};
  if (!begin || !length || *length == 0 || *length > maxTypeBytes) return {{}, "its types are not in memory"};
  std::vector<std::byte> bytes(*length);
  if (!kernel.copy(*begin, bytes)) return {{}, "its types are not in memory"};
  return {std::move(bytes), {}};
}

ProgramTypes parseProgramTypes(const ProgramTypesCopy& copy) {
  if (!copy.problem.empty()) return {nullptr, copy.problem};
  try {
    return {std::make_unique<BtfTypes>(copy.bytes), {}};
  } catch (const Error& error) {
    return {nullptr, error.message()};
  }
}

ProgramTypes readProgramTypes(const GuestKernel& kernel, const KernelLayout& layout, uint64_t address) {
  return parseProgramTypes(copyProgramTypes(kernel, layout, address));
}

}  // namespace ktstr
