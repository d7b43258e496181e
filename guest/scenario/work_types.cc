#include "guest/scenario/work_types.h"

namespace ktstr {

std::string workTypeName(rpc::WorkType::Reader type) {
  switch (type.which()) {
    case rpc::WorkType::SPIN_WAIT:
      return "spinWait";
    case rpc::WorkType::YIELD_HEAVY:
      return "yieldHeavy";
    case rpc::WorkType::BURSTY:
      return "bursty";
    case rpc::WorkType::FUTEX_PING_PONG:
      return "futexPingPong";
    case rpc::WorkType::PIPE_IO:
      return "pipeIo";
  }
  return "unknown";
}

uint32_t workGroupSize(rpc::WorkType::Reader type) {
  switch (type.which()) {
    case rpc::WorkType::SPIN_WAIT:
    case rpc::WorkType::YIELD_HEAVY:
    case rpc::WorkType::BURSTY:
      return 1;
    case rpc::WorkType::FUTEX_PING_PONG:
    case rpc::WorkType::PIPE_IO:
      return 2;
  }
  return 0;
}

std::string workName(rpc::WorkSpec::Reader work) {
  return work.getName().size() > 0 ? std::string(work.getName().cStr()) : workTypeName(work.getType());
}

}  // namespace ktstr
