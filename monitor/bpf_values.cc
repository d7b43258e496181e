#include "monitor/bpf_values.h"

#include <linux/bpf.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "monitor/guest_list.h"
#include "monitor/local_storage.h"
#include "monitor/struct_ops.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint32_t maxTypeBytes = 16 << 20;
constexpr uint64_t pageBytes = 4096;
// kernel/bpf/arena.c: an arena's pages are in a vmalloc area, behind half of GUARD_SZ, at their offset in the
// 4 GiB that the lower half of a user address tells.
constexpr uint64_t arenaGuardBytes = 65536 / 2;
constexpr uint32_t maxArenaPages = 1 << 20;
// include/uapi/linux/bpf.h: a ring buffer's record begins with its length and two flags.
constexpr uint32_t ringBusy = uint32_t{1} << 31, ringDiscarded = uint32_t{1} << 30;
constexpr uint64_t ringHeaderBytes = 8;

// Beside its bytes, with what a heap and a growing vector add.
constexpr size_t entryCost = 2 * sizeof(MapEntry) + 64, valueCost = 2 * sizeof(MapEntry::Value) + 32;

uint64_t roundUp8(uint64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

// Reads entries until one of the limits is reached.
class Entries {
 public:
  Entries(const GuestKernel& kernel, const KernelLayout& layout, const BpfMap& map, size_t limit,
          size_t bytes)
      : kernel_(kernel),
        layout_(layout),
        map_(map),
        limit_(limit),
        bytes_(bytes),
        cpus_(kernel.possibleCpus()) {}

  Walk<MapEntry> read() {
    readAll();
    if (walk_.problem.empty() && unreadable_ > 0)
      walk_.problem = text(unreadable_, " of its keys and values are not in memory");
    return std::move(walk_);
  }

 private:
  void readAll() {
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
      case BPF_MAP_TYPE_STRUCT_OPS:
        structOps();
        break;
      case arenaMapType:
        arena();
        break;
      case BPF_MAP_TYPE_RINGBUF:
      case BPF_MAP_TYPE_USER_RINGBUF:
        ringBuffer();
        break;
      default:
        if (isLocalStorage(map_.type)) return localStorage();
        walk_.problem = text("the values of ", mapTypeName(map_.type), " maps cannot be read");
    }
  }

  std::optional<uint32_t> offset(const char* member) {
    const auto field = layout_.member(member);
    if (!field) walk_.problem = layout_.whyAbsent(member);
    return field ? std::optional(field->offset) : std::nullopt;
  }

  // False if there is no room for another entry.
  bool room() {
    if (walk_.found.size() == limit_) walk_.problem = text("there are more than ", limit_, " entries");
    return walk_.problem.empty() && charge(entryCost);
  }

  // False if it is too much.
  bool charge(uint64_t bytes) {
    if (bytes > left_)
      walk_.problem = bytes_ >> 20 ? text("there are more than ", bytes_ >> 20, " MiB of it")
                                   : text("there are more than ", bytes_ >> 10, " KiB of it");
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }

  bool copy(uint64_t address, uint64_t size, std::vector<std::byte>& out) {
    if (!charge(size)) return false;
    out.resize(size);
    if (kernel_.copy(address, out)) return true;
    ++unreadable_;
    return false;
  }

  void value(MapEntry& entry, uint64_t address, uint64_t size, std::optional<uint32_t> cpu = {}) {
    MapEntry::Value value{cpu, address, {}};
    if (charge(valueCost) && copy(address, size, value.bytes)) entry.values.push_back(std::move(value));
  }
  template <typename T>
  void add(T key, uint64_t address, uint64_t size) {
    MapEntry entry;
    entry.key.resize(sizeof key);
    std::memcpy(entry.key.data(), &key, sizeof key);
    value(entry, address, size);
    walk_.found.push_back(std::move(entry));
  }

  // `address`: of the value, or of the pointer to the per-CPU values.
  void values(MapEntry& entry, uint64_t address, bool perCpu) {
    if (!perCpu) return value(entry, address, map_.valueSize);
    const auto pointer = kernel_.read<uint64_t>(address);
    if (!pointer) ++unreadable_;
    if (pointer.value_or(0) == 0) return;
    for (const uint32_t cpu : cpus_) {
      if (!walk_.problem.empty()) return;
      if (const auto own = kernel_.perCpu(*pointer, cpu)) value(entry, *own, map_.valueSize, cpu);
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
    if (!first || !number) {
      walk_.problem = "its table is not in memory";
      return;
    }
    const auto elements = walkHlistTable(kernel_, {*first + *head, *number, bucket->size}, limit_ + 1);
    for (const uint64_t element : elements.found) {
      if (!room()) return;
      addElement(element + *key, perCpu);
    }
    if (walk_.problem.empty()) walk_.problem = elements.problem;
  }

  void addElement(uint64_t key, bool perCpu) {
    MapEntry entry;
    if (!copy(key, map_.keySize, entry.key)) return;
    values(entry, key + roundUp8(map_.keySize), perCpu);
    walk_.found.push_back(std::move(entry));
  }

  void structOps() {
    const auto own = offset("bpf_struct_ops_map.kvalue");
    if (!own || !room()) return;
    add(uint32_t{0}, map_.address + *own, map_.valueSize);
    walk_.found.back().functions = structOpsFunctions(KernelFields(kernel_, layout_), map_);
  }

  void localStorage() {
    const auto elements = walkLocalStorage(kernel_, layout_, map_, limit_ + 1);
    for (const auto& element : elements.found) {
      if (!room()) break;
      MapEntry entry;
      entry.owner = storageOwner(kernel_, layout_, map_, element.owner);
      value(entry, element.value, map_.valueSize);
      walk_.found.push_back(std::move(entry));
    }
    std::stable_sort(walk_.found.begin(), walk_.found.end(),
                     [](auto& one, auto& other) { return ownsBefore(*one.owner, *other.owner); });
    if (walk_.problem.empty()) walk_.problem = elements.problem;
  }

  void arena() {
    const auto area = offset("bpf_arena.kern_vm"), start = offset("vm_struct.addr");
    if (!area || !start || !offset("bpf_arena.user_vm_start")) return;
    const auto vm = kernel_.read<uint64_t>(map_.address + *area);
    const auto base = vm ? kernel_.read<uint64_t>(*vm + *start) : std::nullopt;
    const auto userStart = arenaStart(kernel_, layout_, map_);
    if (!base || !userStart) {
      walk_.problem = "its area is not in memory";
      return;
    }
    const uint64_t first = *base + arenaGuardBytes + static_cast<uint32_t>(*userStart);
    const uint64_t end = first + std::min(map_.maxEntries, maxArenaPages) * pageBytes;
    const auto scratch = scratchPage();
    for (auto at = kernel_.nextMapped(first, end); at; at = kernel_.nextMapped(*at + pageBytes, end)) {
      if (scratch && kernel_.translate(*at) == scratch) continue;
      if (!room()) return;
      add(static_cast<uint32_t>((*at - first) / pageBytes), *at, pageBytes);
    }
  }

  // Where an arena's page is that stands for all that the program reads without having allocated it.
  std::optional<uint64_t> scratchPage() const {
    const auto member = layout_.member("bpf_arena.scratch_page"), page = layout_.member("page.#flags");
    const auto first = kernel_.readSymbol<uint64_t>("vmemmap_base");
    const auto its = member ? kernel_.read<uint64_t>(map_.address + member->offset) : std::nullopt;
    if (!its || !first || *its < *first || !page || page->size == 0) return std::nullopt;
    return (*its - *first) / page->size * pageBytes;
  }

  // What was produced and not consumed: by position, up to the first record that is still written.
  void ringBuffer() {
    const auto data = offset("bpf_ringbuf.data");
    const auto ring = readRingBuffer(kernel_, layout_, map_);
    if (!ring || !data) {
      if (walk_.problem.empty()) walk_.problem = "its positions are not in memory or make no sense";
      return;
    }
    for (uint64_t at = ring->first; at < ring->producer && room();) {
      const uint64_t record = ring->address + *data + at % ring->bytes;
      const auto header = kernel_.read<uint32_t>(record);
      const uint64_t length = header.value_or(ringBusy) & ~ringDiscarded;
      const uint64_t next = at + roundUp8(length + ringHeaderBytes);
      if (length & ringBusy || next > ring->producer) {
        walk_.problem = text("the record at ", at, header ? " is still written" : " is not in memory");
        return;
      }
      if (!(*header & ringDiscarded)) add(at, record + ringHeaderBytes, length);
      at = next;
    }
  }

  const GuestKernel& kernel_;
  const KernelLayout& layout_;
  const BpfMap& map_;
  const size_t limit_, bytes_;
  size_t left_ = bytes_, unreadable_ = 0;
  std::vector<uint32_t> cpus_;
  Walk<MapEntry> walk_;
};

}  // namespace

size_t MapEntry::cost() const {
  size_t sum = entryCost + key.size();
  for (const auto& value : values) sum += valueCost + value.bytes.size();
  return sum;
}

std::optional<uint64_t> arenaStart(const GuestKernel& kernel, const KernelLayout& layout, const BpfMap& map) {
  return KernelFields(kernel, layout).get<uint64_t>(map.address, "bpf_arena.user_vm_start");
}

std::optional<RingBuffer> readRingBuffer(const GuestKernel& kernel, const KernelLayout& layout,
                                         const BpfMap& map) {
  const auto word = [&](uint64_t address, const char* name) -> std::optional<uint64_t> {
    const auto member = layout.member(name);
    return member ? kernel.read<uint64_t>(address + member->offset) : std::nullopt;
  };
  const auto address = word(map.address, "bpf_ringbuf_map.rb");
  if (!address) return std::nullopt;
  const auto mask = word(*address, "bpf_ringbuf.mask"), consumer = word(*address, "bpf_ringbuf.consumer_pos"),
             producer = word(*address, "bpf_ringbuf.producer_pos");
  const uint64_t overwritten = word(*address, "bpf_ringbuf.overwrite_pos").value_or(0);
  if (!mask || !consumer || !producer) return std::nullopt;
  const RingBuffer ring{*address, *mask + 1, *consumer, *producer, std::max(*consumer, overwritten)};
  const bool sound = ring.bytes == map.maxEntries && std::has_single_bit(ring.bytes) && ring.first % 8 == 0 &&
                     ring.first <= ring.producer && ring.producer - ring.first <= ring.bytes;
  return sound ? std::optional(ring) : std::nullopt;
}

Walk<MapEntry> readMapEntries(const GuestKernel& kernel, const KernelLayout& layout, const BpfMap& map,
                              size_t limit, size_t bytes) {
  return Entries(kernel, layout, map, limit, bytes).read();
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
