// A kernel in RAM, of which the input changes bytes here and there: it is looked for, attached to, sampled
// and dumped, and all of that must end.
#include <capnp/message.h>

#include "monitor/attach.h"
#include "monitor/dump.h"
#include "monitor/sampler.h"
#include "monitor/test_kernel.h"
#include "protocol/error.h"

namespace ktstr::test {
namespace {

// What the kernel is found by, and what is found by it.
class Guest {
 public:
  Guest() {
    kernel_.attachScheduler("simple");
    for (const char* symbol :
         {"init_top_pgt", "linux_banner", "phys_base", "nr_cpu_ids", "__cpu_possible_mask",
          "__per_cpu_offset", "kallsyms_num_syms", "kallsyms_names", "kallsyms_token_table",
          "kallsyms_token_index", "kallsyms_offsets", "__start_BTF", "scx_root"})
      places_.push_back(kernel_.symbolGpa(symbol));
    for (const uint64_t gpa :
         {TestKernel::vmcoreinfoGpa, kernel_.rqGpa(0), kernel_.taskGpa(0), kernel_.schedulerGpa()})
      places_.push_back(gpa);
  }

  // Four bytes of input for each byte that is changed: the place, how far behind it, and what it becomes.
  void attach(std::span<const uint8_t> input) {
    std::vector<std::pair<uint64_t, std::byte>> before;
    for (; input.size() >= 4; input = input.subspan(4)) {
      const uint64_t gpa = places_[input[0] % places_.size()] + (input[1] | uint64_t{input[2]} << 8) % 0x4000;
      before.emplace_back(gpa, kernel_.bytes()[gpa]);
      kernel_.bytes()[gpa] = std::byte{input[3]};
    }
    look();
    for (auto change = before.rbegin(); change != before.rend(); ++change)
      kernel_.bytes()[change->first] = change->second;
  }

 private:
  void look() {
    Attacher attacher(ram_, {}, {});
    const auto attachment = attacher.attempt();
    if (!attachment) return;
    capnp::MallocMessageBuilder sample, message;
    Sampler(*attachment).sample(sample.initRoot<rpc::Sample>());
    auto out = message.initRoot<rpc::Dump>();
    Absences absent;
    KernelDump dump(*attachment, out, absent);
    dump.render();
    absent.fill(out);
  }

  TestKernel kernel_;
  RamFile ram_ = kernel_.ram();
  std::vector<uint64_t> places_;
};

}  // namespace
}  // namespace ktstr::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static ktstr::test::Guest guest;
  guest.attach({data, size});
  return 0;
}
