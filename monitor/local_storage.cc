#include "monitor/local_storage.h"

#include <linux/bpf.h>

#include "monitor/cgroup_path.h"
#include "monitor/guest_list.h"
#include "protocol/text.h"

namespace ktstr {

bool isLocalStorage(uint32_t mapType) {
  return mapType == BPF_MAP_TYPE_TASK_STORAGE || mapType == cgroupStorageMapType ||
         mapType == BPF_MAP_TYPE_SK_STORAGE || mapType == BPF_MAP_TYPE_INODE_STORAGE;
}

Walk<StorageElement> walkLocalStorage(const GuestKernel& kernel, const KernelLayout& layout,
                                      const BpfMap& map, size_t limit) {
  constexpr uint32_t maxLog = 31;
  for (const char* name : {"bpf_local_storage_map.buckets", "bpf_local_storage_map.bucket_log",
                           "bpf_local_storage_map_bucket.list", "bpf_local_storage_map_bucket.#list",
                           "bpf_local_storage_elem.map_node", "bpf_local_storage_elem.local_storage",
                           "bpf_local_storage_elem.sdata", "bpf_local_storage_data.smap",
                           "bpf_local_storage_data.data", "bpf_local_storage.owner"}) {
    if (!layout.member(name)) return {{}, layout.whyAbsent(name)};
  }
  const KernelFields fields(kernel, layout);
  const auto offset = [&](const char* name) { return uint64_t{layout.member(name)->offset}; };
  const auto buckets = fields.get<uint64_t>(map.address, "bpf_local_storage_map.buckets");
  const auto log = fields.get<uint32_t>(map.address, "bpf_local_storage_map.bucket_log");
  if (!buckets || !log || *log > maxLog) return {{}, "its table is not in memory"};
  const auto nodes =
      walkHlistTable(kernel,
                     {*buckets + offset("bpf_local_storage_map_bucket.list"), uint64_t{1} << *log,
                      layout.member("bpf_local_storage_map_bucket.#list")->size},
                     limit);
  Walk<StorageElement> walk{{}, nodes.problem};
  for (const uint64_t node : nodes.found) {
    const uint64_t element = node - offset("bpf_local_storage_elem.map_node");
    const uint64_t data = element + offset("bpf_local_storage_elem.sdata");
    const auto storage = fields.get<uint64_t>(element, "bpf_local_storage_elem.local_storage").value_or(0);
    const auto owner = storage ? fields.get<uint64_t>(storage, "bpf_local_storage.owner").value_or(0) : 0;
    if (owner == 0 || fields.get<uint64_t>(data, "bpf_local_storage_data.smap") != map.address) continue;
    walk.found.push_back({owner, data + offset("bpf_local_storage_data.data")});
  }
  return walk;
}

Value storageOwner(const GuestKernel& kernel, const KernelLayout& layout, const BpfMap& map, uint64_t owner) {
  const KernelFields fields(kernel, layout);
  if (map.type == BPF_MAP_TYPE_TASK_STORAGE) {
    if (const auto pid = fields.get<uint32_t>(owner, "task_struct.pid")) {
      return Value::object()
          .add("pid", Value::of(uint64_t{*pid}))
          .add("comm", Value::named(fields.chars(owner, "task_struct.comm")));
    }
  }
  const std::string path = map.type == cgroupStorageMapType ? cgroupPath(fields, owner) : "";
  return Value::named(path.empty() ? hex(owner) : path);
}

bool ownsBefore(const Value& one, const Value& other) {
  const auto rank = [](const Value& owner) {
    return std::pair(owner.members.empty() ? 0 : owner.members.front().second.number, owner.text);
  };
  return rank(one) < rank(other);
}

}  // namespace ktstr
