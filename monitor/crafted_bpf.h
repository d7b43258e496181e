// For tests: a kernel's memory with BPF maps and programs, made by hand.
#pragma once

#include "monitor/bpf_values.h"
#include "monitor/crafted_kernel.h"
#include "protocol/text.h"

namespace ktstr::test {

inline constexpr uint64_t mapIdr = 0x100, progIdr = 0x140, perCpuOffsets = 0x200, possible = 0x300,
                          cpuCount = 0x308;
inline constexpr const char* bpfLayout =
    "member bpf_map.id 0 4\nmember bpf_map.map_type 4 4\nmember bpf_map.key_size 8 4\n"
    "member bpf_map.value_size 12 4\nmember bpf_map.max_entries 16 4\nmember bpf_map.map_flags 20 4\n"
    "member bpf_map.name 24 16\nmember bpf_map.btf 40 8\nmember bpf_map.btf_key_type_id 48 4\n"
    "member bpf_map.btf_value_type_id 52 4\nmember bpf_map.frozen 56 1\nmember bpf_array.value 64 0\n"
    "member bpf_array.pptrs 64 0\nmember bpf_htab.buckets 64 8\nmember bpf_htab.n_buckets 72 4\n"
    "member bucket.head 0 8\nmember bucket.#head 0 16\nmember htab_elem.key 48 0\n"
    "member bpf_prog.type 0 4\nmember bpf_prog.aux 8 8\nmember bpf_prog.stats 16 8\nmember bpf_prog_aux.id 0 "
    "4\n"
    "member bpf_prog_aux.name 8 16\nmember bpf_prog_aux.verified_insns 4 4\nmember bpf_prog_aux.used_maps 32 "
    "8\nmember bpf_prog_aux.used_map_cnt 40 4\n"
    "member bpf_prog_aux.arena 48 8\nmember bpf_prog_stats.cnt 0 8\n"
    "member bpf_prog_stats.nsecs 8 8\nmember bpf_prog_stats.misses 16 8\nmember btf.data 0 8\n"
    "member btf.data_size 8 4\nmember btf.base_btf 16 8\n";
inline constexpr const char* localStorageLayout =
    "member bpf_local_storage_map.buckets 64 8\nmember bpf_local_storage_map.bucket_log 72 4\n"
    "member bpf_local_storage_map_bucket.list 0 8\nmember bpf_local_storage_map_bucket.#list 0 16\n"
    "member bpf_local_storage_elem.map_node 0 16\nmember bpf_local_storage_elem.local_storage 32 8\n"
    "member bpf_local_storage_elem.sdata 64 8\nmember bpf_local_storage_data.smap 0 8\n"
    "member bpf_local_storage_data.data 8 0\nmember bpf_local_storage.owner 16 8\n";
inline constexpr const char* structOpsLayout =
    "member bpf_map.btf_vmlinux_value_type_id 60 4\nmember bpf_struct_ops_map.uvalue 64 8\n"
    "member bpf_struct_ops_map.links 72 8\nmember bpf_struct_ops_map.funcs_cnt 80 4\n"
    "member bpf_struct_ops_map.btf 88 8\nmember bpf_struct_ops_map.kvalue 128 64\n"
    "member bpf_struct_ops_map.kvalue.data 192 0\nmember bpf_link.prog 24 8\nmember bpf_prog_aux.ksym.name "
    "64 64\n";

class CraftedBpf {
 protected:
  // One chunk of slots behind each IDR; two CPUs whose per-CPU data is 0x8000 apart. `symbols`,
  // `layout`: more of them.
  explicit CraftedBpf(std::map<std::string, uint64_t> symbols = {}, const std::string& layout = "",
                      uint64_t tables = 0)
      : guest_(0x4'0000, with(std::move(symbols)), tables),
        layout_(KernelLayout::fromText(text(walkLayout, bpfLayout, layout)).value()) {
    for (const uint64_t idr : {mapIdr, progIdr}) {
      guest_.put<uint64_t>(idr + 8, CraftedKernel::va(node(idr)) + 2);
      guest_.put<uint8_t>(node(idr), 0);
    }
    guest_.put<uint64_t>(possible, 3);
    guest_.put<uint32_t>(cpuCount, 2);
    guest_.put<uint64_t>(perCpuOffsets, CraftedKernel::va(0x8000));
    guest_.put<uint64_t>(perCpuOffsets + 8, CraftedKernel::va(0x1'0000));
  }
  static uint64_t node(uint64_t idr) { return idr == mapIdr ? 0x1000 : 0x2000; }
  void map(uint32_t id, uint64_t gpa, std::string_view name, uint32_t type, uint32_t keySize,
           uint32_t valueSize, uint32_t entries) {
    guest_.point(node(mapIdr) + 40 + 8 * id, gpa);
    const uint32_t words[] = {id, type, keySize, valueSize, entries, 0};
    for (size_t i = 0; i < 6; ++i) guest_.put<uint32_t>(gpa + 4 * i, words[i]);
    guest_.putBytes(gpa + 24, name);
  }
  BpfObjects objects() const { return BpfObjects(guest_.kernel(), layout_); }
  Walk<MapEntry> entries(std::string_view name, size_t limit = 100) const {
    return readMapEntries(guest_.kernel(), layout_, findMap(objects().maps().found, name), limit);
  }
  static uint32_t word(const std::vector<std::byte>& bytes) {
    uint32_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  static std::map<std::string, uint64_t> with(std::map<std::string, uint64_t> symbols) {
    symbols.insert({{"map_idr", mapIdr},
                    {"prog_idr", progIdr},
                    {"__per_cpu_offset", perCpuOffsets},
                    {"__cpu_possible_mask", possible},
                    {"nr_cpu_ids", cpuCount}});
    return symbols;
  }

  CraftedKernel guest_;
  KernelLayout layout_;
};

}  // namespace ktstr::test
