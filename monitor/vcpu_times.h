// The vCPUs' host CPU time, asked of the VMM once for each sample, without ever holding one up.
#pragma once

#include <kj/async.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/machine.capnp.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class VcpuTimes {
 public:
  explicit VcpuTimes(rpc::Observer::Client observer) : observer_(kj::mv(observer)) {}

  // Asks for the times as of now. Not while an earlier call is unanswered, whose late answer is then of no
  // use, and never again after the VMM has refused.
  void ask();
  // Resolves when the answer to the last ask() is there, at once if none will come. Never fails.
  kj::Promise<void> answered();
  // Puts the answer to the last ask() into its sample. Without one the sample stays as it is.
  void addTo(rpc::Sample::Builder sample);

 private:
  struct Answer {
    uint64_t atNs;
    std::vector<uint64_t> nanos;
  };

  rpc::Observer::Client observer_;
  kj::ForkedPromise<void> call_ = nullptr;
  bool underway_ = false, late_ = false, refused_ = false;
  std::optional<Answer> answer_;
};

}  // namespace ktstr
