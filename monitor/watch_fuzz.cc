// A kernel whose memory is any bytes, but for where its symbols lead: sampled again and again while it
// changes, watched, and its watchdog and its maps planned to be written to.
#include <capnp/message.h>

#include "monitor/crafted_bpf.h"
#include "monitor/crafted_scx.h"
#include "monitor/error_watch.h"
#include "monitor/map_write.h"
#include "monitor/sampler.h"
#include "monitor/watch.h"
#include "monitor/watchdog.h"
#include "protocol/error.h"

namespace ktstr::test {
namespace {

constexpr const char* members =
    "member rq.cpu 136 4\nmember rq.scx.local_dsq.nr 40 4\nmember scx_sched.pcpu 64 8\n"
    "member scx_sched_pcpu.event_stats 16 16\nmember scx_event_stats.SCX_EV_A 0 8\n"
    "member scx_event_stats.SCX_EV_B 8 8\nmember scx_sched.ops.select_cpu 16 8\n"
    "member scx_sched.ops.dispatch_max_batch 32 4\nmember rq.sd 144 8\nmember sched_domain.parent 0 8\n"
    "member sched_domain.level 8 4\nmember sched_domain.flags 12 4\nmember sched_domain.span_weight 16 4\n"
    "member sched_domain.balance_interval 20 4\nmember sched_domain.nr_balance_failed 24 4\n"
    "member sched_domain.max_newidle_lb_cost 32 8\nmember sched_domain.name 40 8\n"
    "member sched_domain.alb_count 48 4\nmember sched_domain.lb_gained 52 12\n";

class Guest : CraftedScx {
 public:
  Guest()
      : CraftedScx({{"map_idr", 0x200},
                    {"prog_idr", 0x240},
                    {"scx_watchdog_timestamp", 0x280},
                    {"scx_watchdog_interval", 0x288}},
                   text(walkLayout, bpfLayout, structOpsLayout, localStorageLayout, members)) {}

  void look(std::span<const uint8_t> input) {
    change(input);
    Sampler sampler(attachment());
    ErrorWatch errors(guest_.kernel(), layout_);
    Watches watches;
    const WatchedGuest guest{guest_.kernel(), layout_, guest_.symbols()};
    for (const char* expression : {"scx_root", "*scx_root", ":", "a:", "runqueues@1 > 5", "#1:x"}) {
      quietly([&] { watches.add(expression, guest); });
    }
    for (unsigned round = 0; round < 3 && input.size() > 2; ++round, input = input.subspan(1)) {
      change(input);
      capnp::MallocMessageBuilder message;
      sampler.sample(message.initRoot<rpc::Sample>());
      errors.look();
      watches.look(guest);
      Watchdog watchdog(guest_.kernel(), layout_, 2000);
      if (const auto plan = watchdog.plan()) watchdog.written(*plan);
      for (const char* map : {"", "#1", "#2"})
        quietly([&] {
          const MapWrite write{map, "+4", "7"};
          planMapWrites(guest_.kernel(), layout_, std::span(&write, 1));
        });
    }
  }

 private:
  void change(std::span<const uint8_t> input) {
    guest_.fill(input);
    prepare();
    guest_.point(rootGpa(), schedulerGpa);
    for (const uint32_t cpu : {0u, 1u}) guest_.put<uint32_t>(rq(cpu) + 136, cpu);
  }
  template <typename Act>
  static void quietly(Act act) {
    try {
      act();
    } catch (const Error&) {
      return;  // it says what is not there
    }
  }
};

}  // namespace
}  // namespace ktstr::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static ktstr::test::Guest guest;
  guest.look({data, size});
  return 0;
}
