#include "guest/agent/operations.h"

#include <algorithm>

#include "guest/topology.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

constexpr uint64_t freezeBoundMs = 5000, killBoundMs = 5000;
constexpr int tickMs = 10;

const char* plural(uint32_t count) {
  return count == 1 ? "" : "s";
}

}  // namespace

std::string Operations::apply(uint32_t step, int32_t index, rpc::Op::Reader op) {
  switch (op.which()) {
    case rpc::Op::ADD_CGROUP:
      stage_.cgroups.create(op.getAddCgroup().cStr(), step);
      return text("added ", op.getAddCgroup().cStr());
    case rpc::Op::REMOVE_CGROUP:
      stage_.removeCgroup(op.getRemoveCgroup().cStr());
      return text("removed ", op.getRemoveCgroup().cStr());
    case rpc::Op::SET_CPUSET:
      stage_.setCpuset(step, index, op.getSetCpuset().getCgroup().cStr());
      return cpusetOf(op.getSetCpuset().getCgroup().cStr());
    case rpc::Op::CLEAR_CPUSET:
      stage_.cgroups.setCpus(op.getClearCpuset().cStr(), std::nullopt);
      stage_.workers.cpusetsChanged();
      return cpusetOf(op.getClearCpuset().cStr());
    case rpc::Op::SWAP_CPUSETS: {
      const auto swap = op.getSwapCpusets();
      stage_.cgroups.swapCpus(swap.getA().cStr(), swap.getB().cStr());
      stage_.workers.cpusetsChanged();
      return cpusetOf(swap.getA().cStr()) + "; " + cpusetOf(swap.getB().cStr());
    }
    case rpc::Op::STOP_CGROUP:
      stage_.stopCgroup(op.getStopCgroup().cStr());
      return text("stopped ", op.getStopCgroup().cStr());
    case rpc::Op::SLEEP_MS:
      supervisor_.wait(
          inMilliseconds(op.getSleepMs()), [&] { return stage_.broken(); }, true);
      return text("slept ", op.getSleepMs(), " ms");
    case rpc::Op::SPAWN:
      return spawn(step, index, op.getSpawn());
    case rpc::Op::SET_AFFINITY: {
      const std::string cgroup = op.getSetAffinity().getCgroup().cStr();
      const uint32_t count = stage_.setAffinity(step, index, cgroup);
      return text("set the affinity of ", count, " worker", plural(count), " in ", cgroup);
    }
    case rpc::Op::MOVE_ALL_TASKS:
      return move(op.getMoveAllTasks());
    case rpc::Op::FREEZE_CGROUP:
      return freeze(op.getFreezeCgroup().cStr(), true);
    case rpc::Op::UNFREEZE_CGROUP:
      return freeze(op.getUnfreezeCgroup().cStr(), false);
    case rpc::Op::SET_LIMITS:
      return setLimits(op.getSetLimits());
    case rpc::Op::RUN_PAYLOAD:
      stage_.payloads.run(step, op.getRunPayload());
      return text("started payload ", op.getRunPayload().getName().cStr());
    case rpc::Op::WAIT_PAYLOAD:
      return waitPayload(op.getWaitPayload().getName().cStr(), op.getWaitPayload().getTimeoutMs());
    case rpc::Op::KILL_PAYLOAD:
      return killPayload(op.getKillPayload().cStr());
    case rpc::Op::SNAPSHOT:
    case rpc::Op::WATCH:
      return ask(op);
    case rpc::Op::WRITE_MAP:
      return askToWrite(step, index, op.getWriteMap());
    case rpc::Op::ATTACH_SCHEDULER:
      return attach(op.getAttachScheduler().cStr());
    case rpc::Op::DETACH_SCHEDULER:
      return detach();
    case rpc::Op::REPLACE_SCHEDULER: {
      const std::string gone = detach();
      return gone + "; " + attach(op.getReplaceScheduler().cStr());
    }
  }
  throw Failure(FailureName::ORDERS_INVALID, text("operation ", index, " is not known here"));
}

std::string Operations::cpusetOf(const std::string& cgroup) const {
  const auto cpus = stage_.cgroups.effectiveCpus(cgroup);
  return text("cpuset of ", cgroup, ": ", cpus ? cpuList(*cpus) : std::string("inherited"), " (effective ",
              stage_.cgroups.value(cgroup, "cpuset.cpus.effective"), ')');
}

std::string Operations::spawn(uint32_t step, int32_t index, rpc::Op::Spawn::Reader op) {
  const std::string cgroup = op.getCgroup().cStr();
  stage_.spawn(step, index, cgroup, op.getWork());
  const uint32_t count = stage_.workers.go();
  return text("spawned ", count, " worker", plural(count), " in ",
              cgroup.empty() ? "the root cgroup" : cgroup);
}

std::string Operations::move(rpc::Op::MoveAllTasks::Reader op) {
  const std::string from = op.getFrom().cStr(), to = op.getTo().cStr();
  const uint32_t moved = stage_.moveTasks(from, to);
  const size_t left = stage_.cgroups.processes(from).size(), there = stage_.cgroups.processes(to).size();
  if (left > 0) {
    throw Failure(FailureName::CGROUP_FAILED,
                  text(left, " processes stayed in ", from, " when it was moved to ", to));
  }
  return text("moved ", moved, " task", plural(moved), " from ", from, " to ", to, ", which has ", there,
              " now");
}

std::string Operations::freeze(const std::string& cgroup, bool wanted) {
  stage_.cgroups.freeze(cgroup, wanted);
  const auto done = [&] { return stage_.cgroups.frozen(cgroup) == wanted; };
  if (!supervisor_.wait(inMilliseconds(freezeBoundMs), done, false, tickMs)) {
    throw Failure(FailureName::CGROUP_FAILED,
                  text(cgroup, " was not ", wanted ? "frozen" : "thawed", " within ", freezeBoundMs, " ms"));
  }
  return text(wanted ? "froze " : "thawed ", cgroup);
}

std::string Operations::setLimits(rpc::Op::SetLimits::Reader op) {
  const std::string cgroup = op.getCgroup().cStr();
  stage_.cgroups.setLimits(cgroup, op.getLimits());
  std::string now = "limits of " + cgroup + ":";
  for (const char* file : {"cpu.weight", "cpu.max", "memory.max", "pids.max"}) {
    now += text(' ', file, '=', stage_.cgroups.value(cgroup, file));
  }
  return now;
}

std::string Operations::waitPayload(const std::string& name, uint32_t timeoutMs) {
  const auto isIt = [&](const RunningPayload& payload) { return payload.name == name; };
  const auto ended = [&] { return !stage_.payloads.any(isIt); };
  if (!supervisor_.wait(inMilliseconds(timeoutMs), ended, true) && !supervisor_.cutShort()) {
    killPayload(name);
    throw Failure(FailureName::PAYLOAD_FAILED,
                  text("payload ", name, " did not end within ", timeoutMs, " ms and was killed"));
  }
  return text("payload ", name, " has ended");
}

std::string Operations::killPayload(const std::string& name) {
  const auto isIt = [&](const RunningPayload& payload) { return payload.name == name; };
  if (!stage_.payloads.any(isIt)) return text("payload ", name, " had ended by itself");
  stage_.payloads.kill(isIt);
  if (!supervisor_.wait(inMilliseconds(killBoundMs), [&] { return !stage_.payloads.any(isIt); })) {
    throw Failure(FailureName::PAYLOAD_FAILED,
                  text("payload ", name, " did not end within ", killBoundMs, " ms of SIGKILL"));
  }
  return text("killed payload ", name);
}

// A snapshot shows the machine as it is here: nothing goes on before the host has taken it.
std::string Operations::ask(rpc::Op::Reader op) {
  channel_.post([&](rpc::GuestEvent::Builder event) {
    op.isSnapshot() ? event.setSnapshotRequested(op.getSnapshot()) : event.setWatchRequested(op.getWatch());
  });
  if (op.isSnapshot()) supervisor_.awaitHost();
  return op.isSnapshot() ? text("asked for snapshot ", op.getSnapshot().cStr())
                         : text("asked to watch ", op.getWatch().cStr());
}

// What comes after it finds the values written.
std::string Operations::askToWrite(uint32_t step, int32_t index, capnp::List<capnp::Text>::Reader writes) {
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initWriteRequested();
    out.setStep(step);
    out.setOp(static_cast<uint32_t>(index));
  });
  supervisor_.awaitHost();
  std::string words = "asked the host to write";
  for (const auto write : writes) words += text(' ', write.cStr());
  return words;
}

std::string Operations::attach(const std::string& name) {
  rpc::SchedulerOrders::Reader orders = orders_.getScheduler();
  for (const auto& each : orders_.getSchedulers()) {
    if (!name.empty() && name == each.getName().cStr()) orders = each;
  }
  if (orders.getPath().size() == 0 || name != orders.getName().cStr()) {
    throw Failure(FailureName::ORDERS_INVALID, text("the orders have no scheduler \"", name, '"'));
  }
  return "attached " + supervisor_.startScheduler(orders);
}

std::string Operations::detach() {
  return "detached " + supervisor_.detachScheduler();
}

}  // namespace ktstr::agent
