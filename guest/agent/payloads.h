// The payloads of a scenario: programs of the image, their output, and how they end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "guest/agent/cgroups.h"
#include "guest/agent/channel.h"
#include "guest/agent/workers.h"
#include "protocol/fd.h"
#include "protocol/scenario.capnp.h"

namespace ktstr::agent {

struct RunningPayload {
  uint32_t step = 0;   // that started it
  uint32_t owner = 0;  // the step it ends with
  std::string name, cgroup;
  int expected = 0;  // exit code
  pid_t pid = -1;
  Fd output = {};
  std::string tail = {};  // of what it printed
  uint64_t startedNs = 0;
  bool killed = false;  // by us
};

class Payloads {
 public:
  using Choice = std::function<bool(const RunningPayload&)>;
  static constexpr size_t tailBytes = size_t{64} << 10;

  Payloads(Channel& channel, Cgroups& cgroups) : channel_(channel), cgroups_(cgroups) {}
  ~Payloads();  // kills what is left

  // Starts it inside its cgroup and posts payloadStarted. Throws Failure payloadFailed.
  void run(uint32_t step, rpc::Payload::Reader payload);

  // If the child is one of ours posts payloadEnded, and failure payloadFailed if it ended otherwise than it
  // should.
  bool ended(const ChildExit& child);
  // Reads what they have printed, at most 64 KiB of each.
  void drain();
  std::vector<int> outputs() const;  // to be waited for

  bool any(const Choice& choice) const;
  // SIGKILL to their process groups.
  void kill(const Choice& choice);
  // As Workers::move().
  uint32_t move(const std::string& from, const std::string& to, std::optional<uint32_t> owner);

 private:
  static void drain(RunningPayload& payload);
  void report(const RunningPayload& payload, int status);

  Channel& channel_;
  Cgroups& cgroups_;
  std::vector<RunningPayload> running_;
};

}  // namespace ktstr::agent
