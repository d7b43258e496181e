#include "guest/work/schedstat.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cinttypes>
#include <cstdio>

#include "protocol/fd.h"

namespace ktstr::work {

std::optional<Schedstat> schedstatOf(pid_t tid) {
  std::array<char, 64> path{}, line{};
  tid == 0 ? snprintf(path.data(), path.size(), "/proc/thread-self/schedstat")
           : snprintf(path.data(), path.size(), "/proc/%d/schedstat", tid);
  const Fd file(open(path.data(), O_RDONLY | O_CLOEXEC));
  if (!file || read(file.get(), line.data(), line.size() - 1) <= 0) return std::nullopt;
  Schedstat times;
  const int fields = sscanf(line.data(), "%" SCNu64 " %" SCNu64 " %" SCNu64, &times.cpuNs, &times.runDelayNs,
                            &times.timeslices);
  return fields == 3 ? std::optional(times) : std::nullopt;
}

}  // namespace ktstr::work
