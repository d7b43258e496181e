// The operations of a scenario's steps.
#pragma once

#include <cstdint>
#include <string>

#include "guest/agent/channel.h"
#include "guest/agent/stage.h"
#include "guest/agent/supervisor.h"
#include "protocol/report.capnp.h"

namespace ktstr::agent {

class Operations {
 public:
  Operations(rpc::GuestOrders::Reader orders, Channel& channel, Supervisor& supervisor, Stage& stage)
      : orders_(orders), channel_(channel), supervisor_(supervisor), stage_(stage) {}

  // Applies operation `index` of a step and waits until it has taken effect. Returns what was done, with what
  // the kernel says now. Throws Failure.
  std::string apply(uint32_t step, int32_t index, rpc::Op::Reader op);

 private:
  std::string cpusetOf(const std::string& cgroup) const;
  std::string spawn(uint32_t step, int32_t index, rpc::Op::Spawn::Reader op);
  std::string move(rpc::Op::MoveAllTasks::Reader op);
  std::string freeze(const std::string& cgroup, bool wanted);
  std::string setLimits(rpc::Op::SetLimits::Reader op);
  std::string waitPayload(const std::string& name, uint32_t timeoutMs);
  std::string killPayload(const std::string& name);
  std::string attach(const std::string& name);
  std::string detach();
  std::string ask(rpc::Op::Reader op);
  std::string askToWrite(uint32_t step, int32_t index, capnp::List<capnp::Text>::Reader writes);

  rpc::GuestOrders::Reader orders_;
  Channel& channel_;
  Supervisor& supervisor_;
  Stage& stage_;
};

}  // namespace ktstr::agent
