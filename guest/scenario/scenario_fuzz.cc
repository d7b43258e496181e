// Scenario files are foreign: any JSON must be refused by name or be a scenario whose cpusets resolve.
#include <capnp/message.h>

#include <cstdlib>

#include "guest/scenario/validate.h"
#include "protocol/error.h"
#include "protocol/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ktstr::Topology topology = ktstr::parseTopology("2n4l2c2t");
  capnp::MallocMessageBuilder message;
  auto orders = message.initRoot<ktstr::rpc::GuestOrders>();
  try {
    ktstr::fromJson({reinterpret_cast<const char*>(data), size}, orders.initScenario());
    ktstr::validateScenario(orders.getScenario(), topology);
  } catch (const ktstr::Error&) {
    return 0;
  }
  ktstr::resolvePlacement(orders.getScenario(), topology, orders);
  for (const auto& cpuset : orders.getCpusets().asReader()) {
    for (const uint32_t cpu : cpuset.getCpus()) {
      if (cpu >= topology.vcpus()) abort();
    }
  }
  return 0;
}
