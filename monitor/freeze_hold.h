// Keeps a guest frozen for longer than one lease lasts: takes the next lease before the last one ends.
#pragma once

#include <functional>
#include <optional>

#include "protocol/machine.capnp.h"

namespace ktstr {

class FreezeHold {
 public:
  // `ask` gets a lease, which lasts 1 s from when it is granted, and waits for it. Nothing: there is none to
  // be had any more.
  using Ask = std::function<std::optional<rpc::FreezeLease::Client>()>;
  // Freezes. Throws what `ask` throws, and Error "freeze-lost" if there is no lease.
  explicit FreezeHold(Ask ask);

  // To be called often: takes another lease if the one there is is 300 ms old. Throws Error "freeze-lost" if
  // that came too late, so that the guest may have run in between. True: it took one.
  bool renew();

  uint64_t heldNs() const;

 private:
  Ask ask_;
  std::optional<rpc::FreezeLease::Client> lease_;
  uint64_t begin_ = 0, asked_ = 0;
};

}  // namespace ktstr
