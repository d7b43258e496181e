// A guest that runs a scheduler, and the monitor's hold of its kernel: to compare what the one says with what
// the other sees.
#pragma once

#include <map>
#include <optional>
#include <stdexcept>
#include <string>

#include "monitor/attach.h"
#include "tests/system/guest_shell.h"
#include "tests/system/harness.h"

namespace ktstr::testing {

using Counters = std::map<std::string, uint64_t>;

// The kernel does not take the scheduler: what its loader says.
struct NotAttached : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Watched {
 public:
  // `scheduler`: one of the kernel tree's, or "" for EEVDF; `others`: for start(), name below /bin to host
  // path. Throws NotAttached, std::runtime_error.
  Watched(const std::string& kernel, const std::string& scheduler, const std::string& arguments = "",
          const std::map<std::string, std::string>& others = {});
  // Another scheduler, after the one before has ended. Throws NotAttached.
  void start(const std::string& name, const std::string& arguments = "");
  TemporaryDirectory directory;
  Background vmm;  // stands by on sockets in `directory`
  GuestShell guest;
  std::optional<Attachment> attachment;
  std::string process = "sched";  // the scheduler's
};

// Where one of the kernel tree's schedulers was built.
std::string schedulerPath(const std::string& name);

// It ends, or has been told to: its process, its maps and its programs go.
void expectSchedulerGone(Watched& watched);

// "key:<tab>value" lines of the scheduler's /proc/PID/fdinfo, one block for each descriptor that has `id` and
// `kind`, by id: links have the id of their program, too.
std::map<uint32_t, Counters> descriptors(Watched& watched, const std::string& id, const std::string& kind);

}  // namespace ktstr::testing
