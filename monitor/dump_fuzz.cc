// A dump of a kernel whose memory is any bytes, but for where its symbols lead.
#include <capnp/message.h>

#include "monitor/crafted_scx.h"
#include "monitor/dump.h"

namespace ktstr::test {
namespace {

class Guest : CraftedScx {
 public:
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
