// A dump of a kernel whose memory is any bytes, but for where its symbols lead.
#include <capnp/message.h>

#include "monitor/crafted_bpf.h"
#include "monitor/crafted_scx.h"
#include "monitor/dump.h"

namespace ktstr::test {
namespace {

class Guest : CraftedScx {
 public:
  Guest()
      : CraftedScx({{"map_idr", 0x200}, {"prog_idr", 0x240}, {"ext_sched_class", 0x280}},
                   text(walkLayout, bpfLayout, structOpsLayout, localStorageLayout,
                        "member scx_sched.pcpu 64 8\nmember scx_sched_pcpu.event_stats 16 16\n"
                        "member scx_event_stats.SCX_EV_A 0 8\nmember scx_event_stats.SCX_EV_B 8 8\n"
                        "member sched_ext_ops.priv 0 8\n")) {}

  void dump(std::span<const uint8_t> input) {
    guest_.fill(input);
    prepare();
    guest_.point(rootGpa(), schedulerGpa);
    guest_.point(hierarchyHead, schedulerGpa + allNode);
    capnp::MallocMessageBuilder message;
    auto out = message.initRoot<rpc::Dump>();
    Absences absent;
    KernelDump dump(attachment(), out, absent);
    dump.render();
    absent.fill(out);
  }
};

}  // namespace
}  // namespace ktstr::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static ktstr::test::Guest guest;
  guest.dump({data, size});
  return 0;
}
