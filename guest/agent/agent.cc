#include "guest/agent/agent.h"

#include <capnp/serialize.h>

#include "guest/agent/inject.h"
#include "guest/agent/runner.h"
#include "guest/agent/settings.h"
#include "guest/agent/system.h"
#include "guest/scenario/validate.h"
#include "protocol/error.h"

namespace ktstr::agent {
namespace {

// The host checked all this as well; orders that this agent understands in another way must not run.
void checkOrders(rpc::GuestOrders::Reader orders) {
  const bool underScheduler = orders.getScheduler().getPath().size() > 0;
  if (orders.getBaseline() && !underScheduler)
    throw Failure(FailureName::ORDERS_INVALID, "there is no scheduler to be compared with EEVDF");
  try {
    validateScenario(orders.getScenario(), parseTopology(orders.getTopology().cStr()), underScheduler);
  } catch (const Error& error) {
    throw Failure(FailureName::ORDERS_INVALID, error.what());
  }
}

void run(rpc::GuestOrders::Reader orders, Channel& channel, const Environment& environment) {
  checkImage(environment.image, orders.getRunId().cStr());
  checkOrders(orders);
  const std::string parent = orders.getCgroupParent().cStr();
  Cgroups cgroups(environment.cgroupMount, parent.empty() ? "ktstr" : parent.substr(1));
  channel.post([&](rpc::GuestEvent::Builder event) { fillFacts(event.initReady(), environment.uptimeMs); });
  Scheduler scheduler(channel, environment.schedExt);
  Supervisor supervisor(channel, scheduler);
  const auto hook = [&](const std::vector<pid_t>& workers) { inject(environment.inject, channel, workers); };
  try {
    applySettings(orders);
    if (orders.getScheduler().getPath().size() > 0) {
      supervisor.startScheduler(orders.getScheduler());
      if (orders.getHostWrites()) supervisor.awaitHost();
    }
    if (!supervisor.cutShort()) runPasses(orders, channel, supervisor, cgroups, hook);
  } catch (const Failure& failure) {
    channel.failure(failure);
  }
  if (scheduler.running()) supervisor.stopScheduler();
  undoSettings(orders);
  supervisor.requireNoChildren();
  cgroups.close();
}

}  // namespace

void runOrders(Channel& channel, const Environment& environment) {
  try {
    const std::vector<std::byte> bytes = channel.orders();
    // A vector's memory is aligned for words.
    capnp::FlatArrayMessageReader message(
        kj::arrayPtr(reinterpret_cast<const capnp::word*>(bytes.data()), bytes.size() / sizeof(capnp::word)));
    run(message.getRoot<rpc::GuestOrders>(), channel, environment);
  } catch (const Failure& failure) {
    channel.failure(failure);
  } catch (const std::exception& error) {
    channel.failure(Failure(FailureName::INTERNAL, error.what()));
  }
}

}  // namespace ktstr::agent
