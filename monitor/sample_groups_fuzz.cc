// The input makes a guest's memory of 64 KiB in which most words are pointers into it or small numbers, page
// tables among them: scheduling domains, the scheduler's programs, arenas and ring buffers are looked for,
// and the search must end.
#include <capnp/message.h>
#include <linux/bpf.h>

#include <cstdlib>

#include "monitor/crafted_bpf.h"
#include "monitor/sched_domains.h"
#include "monitor/scx_programs.h"

namespace {

constexpr const char* layoutText =
    "member rq.sd 0 8\nmember sched_domain.parent 0 8\nmember sched_domain.level 8 4\n"
    "member sched_domain.name 16 8\nmember sched_domain.flags 12 4\nmember sched_domain.span_weight 24 4\n"
    "member sched_domain.balance_interval 28 4\nmember sched_domain.nr_balance_failed 32 4\n"
    "member sched_domain.max_newidle_lb_cost 40 8\nmember sched_domain.lb_count 48 12\n"
    "member sched_domain.lb_failed 60 12\nmember sched_domain.ttwu_move_affine 72 4\n"
    "member scx_sched.ops.select_cpu 16 8\nmember scx_sched.ops.dispatch_max_batch 24 4\n"
    "member bpf_struct_ops_map.kvalue.data 128 0\nmember bpf_struct_ops_map.links 96 8\n"
    "member bpf_struct_ops_map.funcs_cnt 104 4\nmember bpf_link.prog 24 8\n"
    "member bpf_arena.kern_vm 64 8\nmember bpf_arena.user_vm_start 72 8\nmember bpf_arena.scratch_page 80 8\n"
    "member vm_struct.addr 8 8\nmember page.#flags 0 64\nmember bpf_ringbuf_map.rb 64 8\n"
    "member bpf_ringbuf.mask 56 8\nmember bpf_ringbuf.consumer_pos 64 8\nmember bpf_ringbuf.producer_pos 72 "
    "8\n"
    "member bpf_ringbuf.overwrite_pos 80 8\nmember bpf_ringbuf.data 128 0\n";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr;
  if (size < 16) return 0;
  constexpr size_t bytes = 64 << 10, limit = 200;
  static test::CraftedKernel guest(bytes, {{"map_idr", 0x100},
                                           {"__per_cpu_offset", 0x300},
                                           {"__cpu_possible_mask", 0x400},
                                           {"nr_cpu_ids", 0x440},
                                           {"scx_root", 0x500},
                                           {"vmemmap_base", 0x600}});
  static const KernelLayout layout =
      KernelLayout::fromText(text(test::walkLayout, test::bpfLayout, layoutText)).value();
  guest.fill({data, size});
  capnp::MallocMessageBuilder message;
  auto sample = message.initRoot<rpc::Sample>();
  ScxPrograms(guest.kernel(), layout).sample(sample);
  auto cpu = sample.initCpus(1)[0];
  SchedDomains domains(guest.kernel(), layout);
  for (uint64_t at = 0; at < bytes; at += 512) {
    domains.sample(0, guest.va(at), cpu);
    if (cpu.getDomains().size() > SchedDomains::maxLevels) std::abort();
  }
  for (const uint32_t type :
       {uint32_t{BPF_MAP_TYPE_RINGBUF}, uint32_t{BPF_MAP_TYPE_USER_RINGBUF}, arenaMapType}) {
    const BpfMap map{guest.va(data[0] * 64), 1, "m", type, 0, 0, uint32_t{1} << data[1] % 24};
    if (readMapEntries(guest.kernel(), layout, map, limit).found.size() > limit) std::abort();
  }
  return 0;
}
