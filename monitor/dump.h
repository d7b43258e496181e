// What the scheduler of a guest looks like at one moment (protocol/dump.capnp), from its memory alone.
//
// In two parts, so that a guest that is frozen for it stands still for as short as can be: the copy reads all
// that may change; the rendering names and words what was copied, and reads nothing but what stays the same.
// Both take bounded time and memory whatever the guest holds: see `limits`. What a kernel does not have, what
// could not be read and what was left out is named among the absences, or by the `incomplete` of its part.
#pragma once

#include <memory>

#include "monitor/attach.h"
#include "protocol/dump.capnp.h"

namespace ktstr {

namespace dump_limits {
inline constexpr size_t tasks = 16'384;  // also of those queued on all DSQs together
inline constexpr size_t dsqs = 4096;     // the scheduler's own
inline constexpr size_t cgroups = 4096;
inline constexpr size_t schedulers = 256;   // the attached one and its sub-schedulers
inline constexpr size_t mapEntries = 1024;  // of each map
inline constexpr size_t maps = 1024;
inline constexpr size_t mapBytes = 16 << 20;   // of all maps, with what it costs to keep them
inline constexpr size_t typeBytes = 16 << 20;  // of the programs' types
inline constexpr size_t mapText = 16 << 20;    // rendered
inline constexpr size_t kicked = 65'536;       // CPUs to be kicked, of all CPUs
inline constexpr size_t pathBytes = 4 << 20;   // of cgroups, each time that one is shown
inline constexpr size_t absences = 256;
inline constexpr unsigned seconds = 3;  // of the copy and of the rendering, each
}  // namespace dump_limits

// What is not there, and why. At most dump_limits::absences; nothing twice.
class Absences {
 public:
  void add(std::string section, std::string reason);
  void fill(rpc::Dump::Builder out) const;

 private:
  std::vector<std::pair<std::string, std::string>> list_;
};

class KernelDump {
 public:
  // Copies into `out`, whose memory must outlive this object, as must the others'.
  KernelDump(const Attachment& attachment, rpc::Dump::Builder out, Absences& absent);
  ~KernelDump();

  // Completes `out`. Once.
  void render();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// The members name, reason, atNs, frozenNs, notFrozen, copyNs, renderNs, schedulerStats and registers are not
// KernelDump's: whoever makes a dump knows them.

}  // namespace ktstr
