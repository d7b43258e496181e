// The input makes a guest's memory of 64 KiB in which most words are pointers into it or small numbers: maps,
// programs, their values and types, and tasks are looked for everywhere, and the search must end.
#include <cstdlib>

#include "monitor/crafted_bpf.h"
#include "monitor/task_list.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr;
  if (size < 16) return 0;
  constexpr size_t bytes = 64 << 10, limit = 200;
  static test::CraftedKernel guest(bytes, {{"map_idr", 0x100},
                                           {"prog_idr", 0x200},
                                           {"__per_cpu_offset", 0x300},
                                           {"__cpu_possible_mask", 0x400},
                                           {"nr_cpu_ids", 0x440},
                                           {"init_task", 0x500}});
  static const KernelLayout layout =
      KernelLayout::fromText(
          text(test::walkLayout, test::bpfLayout, test::localStorageLayout, test::structOpsLayout,
               "member cgroup.kn 0 8\nmember kernfs_node.name 0 8\nmember kernfs_node.__parent 8 8\n"
               "member task_struct.tasks 16 16\nmember task_struct.thread_node 32 "
               "16\n"
               "member task_struct.signal 48 8\nmember task_struct.pid 56 4\nmember task_struct.tgid 60 4\n"
               "member task_struct.__state 64 4\nmember task_struct.comm 72 16\n"
               "member signal_struct.thread_head 8 16\n"))
          .value();
  guest.fill({data, size});
  const BpfObjects objects(guest.kernel(), layout);
  objects.programs();
  if (listTasks(guest.kernel(), layout, limit).found.size() > limit) std::abort();
  auto maps = objects.maps().found;
  maps.resize(std::min<size_t>(maps.size(), 4));
  for (uint32_t type = 0; type < 34; ++type) {  // as if there were maps of each type
    maps.push_back({guest.va(data[type % size] * 64), 1, "m", type, data[0], data[1] * uint32_t{16}, data[2],
                    0, false, guest.va(data[3] * 8), 1, 2});
  }
  objects.arenaBeside(maps.front());
  for (const auto& map : maps) {
    if (readMapEntries(guest.kernel(), layout, map, limit).found.size() > limit) std::abort();
    readProgramTypes(guest.kernel(), layout, map.btf);
  }
  return 0;
}
