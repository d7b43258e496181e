#include "orchestrator/session.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/scenario/operations.h"
#include "guest/scenario/snapshot_times.h"
#include "orchestrator/write_grants.h"
#include "protocol/call_error.h"
#include "protocol/error.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint32_t panicGraceMs = 1500;   // from the panic on the console to the machine's end, with panic=-1
constexpr int snapshotPatienceMs = 5000;  // of a machine that is about to end

// The connection to a monitor of our own.
kj::Maybe<kj::Own<Connection>> connectGrants(kj::AsyncIoContext& io, MachineLink& machine, Helpers& helpers,
                                             rpc::Scenario::Reader scenario) {
  if (!helpers.grants) return nullptr;
  const size_t writes = helpers.writes.mapWrites.size() + countMapWrites(scenario);
  return kj::heap<Connection>(*io.lowLevelProvider, std::move(helpers.grants),
                              kj::heap<WriteGrantsServer>(machine, writes, helpers.writes.watchdogMs != 0));
}

kj::Maybe<rpc::Monitor::Client> monitorOf(kj::Maybe<kj::Own<Connection>>& grants) {
  KJ_IF_MAYBE (connection, grants) {
    return (*connection)->bootstrap().castAs<rpc::Monitor>();
  }
  return nullptr;
}

}  // namespace

Session::Session(kj::AsyncIoContext& io, MachineLink& machine, Helpers& helpers, Phases& phases,
                 PendingRecord& record, PhaseLimits limits, const Limits& assertions,
                 rpc::Scenario::Reader scenario, bool underScheduler, uint32_t samplePeriodMs)
    : io_(io),
      machine_(machine),
      helpers_(helpers),
      phases_(phases),
      record_(record),
      limits_(limits),
      analysis_(assertions, samplePeriodMs),
      grants_(connectGrants(io, machine, helpers, scenario)),
      snapshots_(record, io.provider->getTimer(), monitorOf(grants_)),
      periodic_(
          snapshotTimes(scenario), snapshots_, [this] { return guest_->requestStats(); },
          io.provider->getTimer()),
      watches_(snapshots_, monitorOf(grants_)),
      writes_(helpers.writes, scenario, monitorOf(grants_), io.provider->getTimer(),
              [this] { guest_->letGoOn(); }),
      live_(assertions, underScheduler,
            [this](const std::string& finding) { snapshots_.take(finding, rpc::DumpReason::VIOLATION); }) {
  exit_.initRoot<rpc::ExitReason>();
}

void Session::run(PreparedRam prepared, int base, std::span<const std::byte> orders,
                  std::function<void(rpc::Placement::Builder)> place) {
  place_ = std::move(place);
  prepared_ = std::move(prepared);
  Mapping mailbox(prepared_.mailbox.get(), 0, prepared_.mailboxBytes, PROT_READ | PROT_WRITE);
  guest_ = std::make_unique<GuestLink>(std::move(mailbox), orders, record_,
                                       [this](rpc::GuestEvent::Reader event) { onEvent(event); });
  monitor_ =
      std::make_unique<MonitorLink>(record_, [this](rpc::MonitorRecord::Reader record) { onRecord(record); });
  observing_ =
      monitor_->pump(*io_.lowLevelProvider, std::move(helpers_.monitorOutput)).eagerlyEvaluate(nullptr);

  enter(RunPhase::boot, "machine", limits_.machine);
  bootAndWait(base)
      .exclusiveJoin(watchClock())
      .exclusiveJoin(watchSignal(SIGINT))
      .exclusiveJoin(watchSignal(SIGTERM))
      .catch_([this](kj::Exception&& exception) {
        try {
          rethrowAsError(exception);
        } catch (const Error& error) {
          lifecycle_.error = error;
        }
      })
      .wait(io_.waitScope);
  windDown();
}

void Session::enter(RunPhase phase, const char* name, uint32_t limitMs) {
  phases_.begin(name);
  lifecycle_.phase = phase;
  phaseStartNs_ = monotonicNs();
  phaseLimitMs_ = limitMs;
}

kj::Promise<void> Session::bootAndWait(int base) {
  return machine_.boot(prepared_, base, place_)
      .then([this] { return machine_.console(); })
      .then([this](Fd console) {
        return machine_.doorbell().then([this, console = std::move(console)](Fd doorbell) mutable {
          pumping_ =
              guest_->pump(*io_.provider, *io_.lowLevelProvider, std::move(console), std::move(doorbell))
                  .eagerlyEvaluate(nullptr);
        });
      })
      .then([this] { return machine_.start(); })
      .then([this] {
        enter(RunPhase::boot, "kernel", limits_.kernel);
        return machine_.wait(exit_.getRoot<rpc::ExitReason>());
      })
      .then([this] { keepExit(); });
}

void Session::keepExit() {
  const auto exit = exit_.getRoot<rpc::ExitReason>().asReader();
  lifecycle_.exit = exit.getKind();
  lifecycle_.exitDetail = exit.getDetail().cStr();
}

// Where a machine was that did not end by itself is evidence. A VMM that is gone has been noted by then.
kj::Promise<void> Session::stopMachine() {
  return machine_.stop()
      .then([this] { return machine_.wait(exit_.getRoot<rpc::ExitReason>()); })
      .then([this] {
        const bool told = exit_.getRoot<rpc::ExitReason>().getKind() != rpc::ExitKind::ENGINE_KILLED;
        if (!lifecycle_.exit && told) keepExit();
      });
}

kj::Promise<void> Session::watchSignal(int number) {
  return io_.unixEventPort.onSignal(number).then(
      [this, number](siginfo_t&&) { lifecycle_.interruptedBy = number; });
}

// Ends the wait when the current phase has taken too long, or the mailbox is not to be believed any more.
kj::Promise<void> Session::watchClock() {
  return io_.provider->getTimer().afterDelay(100 * kj::MILLISECONDS).then([this]() -> kj::Promise<void> {
    phases_.refresh();
    if (!panicSeen_ && panicked()) {
      panicSeen_ = true;
      snapshotFailure("panic");
      phaseStartNs_ = monotonicNs();
      phaseLimitMs_ = panicGraceMs;
    }
    const double elapsedMs = static_cast<double>(monotonicNs() - phaseStartNs_) / 1e6;
    if (guest_->corruption().empty() && elapsedMs <= phaseLimitMs_) return watchClock();
    if (guest_->corruption().empty() && !panicSeen_) {
      lifecycle_.timedOutAfterMs = elapsedMs;
      snapshotFailure("timeout");
    }
    return kj::READY_NOW;
  });
}

void Session::onEvent(rpc::GuestEvent::Reader event) {
  periodic_.onEvent(event);
  watches_.onEvent(event);
  writes_.onEvent(event);
  switch (event.which()) {
    case rpc::GuestEvent::READY:
      return enter(RunPhase::boot, "init", limits_.scheduler);
    case rpc::GuestEvent::SCHEDULER_STARTED:
      if (lifecycle_.phase >= RunPhase::scenario) return;  // an operation of the scenario
      return enter(RunPhase::scheduler, "scheduler", limits_.scheduler);
    case rpc::GuestEvent::SCHEDULER_ATTACHED:
      return analysis_.schedulerAttached();
    case rpc::GuestEvent::SCHEDULER_EXITED:
      if (!event.getSchedulerExited().getExpected()) snapshotFailure("scheduler-ended");
      return;
    case rpc::GuestEvent::FAILURE:
      return snapshotFailure("guest-failure");
    case rpc::GuestEvent::SNAPSHOT_REQUESTED:
      answering_.push_back(snapshots_.take(event.getSnapshotRequested(), rpc::DumpReason::OPERATION)
                               .then([this](SnapshotFact) { guest_->letGoOn(); })
                               .eagerlyEvaluate(nullptr));
      return;
    case rpc::GuestEvent::SCENARIO_STARTED:
      analysis_.beginScenario();
      return enter(RunPhase::scenario, "scenario", limits_.scenario);
    case rpc::GuestEvent::SCENARIO_ENDED:
      analysis_.endScenario();
      return enter(RunPhase::collect, "collect", limits_.collect);
    case rpc::GuestEvent::BASELINE_STARTED:
      analysis_.beginBaseline();
      return enter(RunPhase::baseline, "baseline", limits_.scenario);
    case rpc::GuestEvent::DONE:
      return enter(RunPhase::collect, "shutdown", limits_.shutdown);
    default:
      return;
  }
}

bool Session::panicked() const {
  return guest_->console().find("Kernel panic - not syncing") != std::string::npos;
}

// One of a run: what comes after the first failure is mostly its consequence.
void Session::snapshotFailure(const char* name) {
  if (!snapshots_.hasFailureDump()) snapshots_.take(name, rpc::DumpReason::FAILURE);
}

void Session::onRecord(rpc::MonitorRecord::Reader record) {
  if (record.isDump()) return snapshots_.received(record.getDump());
  watches_.onRecord(record);
  if (record.isAttached() && !hasAttached_) {
    attached_.setRoot(record.getAttached());
    hasAttached_ = true;
  }
  writes_.onRecord(record);
  const SampleSight sight = analysis_.add(record);
  if (record.isSample()) live_.look(analysis_.soFar());
  samples_.add(record, sight);
}

std::optional<rpc::Attached::Reader> Session::attached() const {
  if (!hasAttached_) return std::nullopt;
  return const_cast<capnp::MallocMessageBuilder&>(attached_).getRoot<rpc::Attached>().asReader();
}

// Names the helpers that ended before the machine did.
void Session::noteHelpers() {
  if (const auto status = machine_.child().poll()) {
    if (!lifecycle_.exit || *lifecycle_.exit == rpc::ExitKind::ENGINE_KILLED) {
      lifecycle_.vmmDied = describeWaitStatus(*status);
    }
  }
  if (const auto status = helpers_.monitor.poll()) {
    const bool clean = WIFEXITED(*status) && WEXITSTATUS(*status) == 0;
    if (!clean)
      lifecycle_.monitorDied =
          describeWaitStatus(*status) + (monitor_->failure().empty() ? "" : "; " + monitor_->failure());
  }
}

// Ends what still runs, in bounded time: the machine, its streams, then the monitor, which sees its VM go.
void Session::windDown() {
  phases_.begin("wind down");
  auto& timer = io_.provider->getTimer();
  const auto within = [&](kj::Promise<void> promise, int milliseconds) {
    return promise.then([] { return true; }, [](kj::Exception&&) { return true; })
        .exclusiveJoin(timer.afterDelay(milliseconds * kj::MILLISECONDS).then([] { return false; }))
        .wait(io_.waitScope);
  };
  noteHelpers();
  periodic_.end();
  within(snapshots_.settled(), snapshotPatienceMs);
  if (!machine_.child().poll() && !within(stopMachine(), 3000) && lifecycle_.timedOutAfterMs) {
    lifecycle_.vmmDied = "it does not answer any more (was it stopped?)";
  }
  within(kj::mv(pumping_), 300);  // what is still in the console's socket
  guest_->drain();
  if (!guest_->corruption().empty()) lifecycle_.guestCorrupt = guest_->corruption();
  if (panicked()) snapshotFailure("panic");  // the memory is still there
  within(snapshots_.settled(), snapshotPatienceMs);
  machine_.end();
  within(kj::mv(observing_), 1500);
  writes_.end();
  grants_ = nullptr;
  helpers_.monitor = Child();
  helpers_.analysis = Child();
  phases_.end();
}

}  // namespace ktstr
