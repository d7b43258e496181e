#include "guest/agent/stage.h"

#include "guest/scenario/validate.h"
#include "guest/scenario/work_types.h"
#include "guest/topology.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

// How long workers have to stop: each needs the CPU once, and thousands on a few CPUs take turns.
uint64_t stopBoundMs(size_t workers) {
  return 2000 + 5 * workers;
}
constexpr uint64_t killBoundMs = 1000;
constexpr const char* churnInfix = "-churn-";

}  // namespace

Stage::Stage(rpc::GuestOrders::Reader orders, Channel& channel, Supervisor& supervisor, Cgroups& allCgroups,
             bool baseline)
    : cgroups(allCgroups),
      workers(channel, allCgroups, baseline),
      payloads(channel, allCgroups),
      orders_(orders),
      channel_(channel),
      supervisor_(supervisor) {
  supervisor_.watch(&workers, &payloads);
  channel_.setOnChange([this](rpc::GuestEvent::Builder event) {
    if (!looping || !event.isOpApplied()) readProgress(workers.all()).writeProgress(event);
  });
}

Stage::~Stage() {
  channel_.setOnChange({});
  supervisor_.watch(nullptr, nullptr);
}

void Stage::make(uint32_t step, rpc::CgroupDef::Reader definition) {
  const std::string path = definition.getName().cStr();
  cgroups.create(path, step);
  setCpuset(step, -1, path);
  if (definition.getCpusetMems().size() > 0) cgroups.setMems(path, cpuNumbers(definition.getCpusetMems()));
  cgroups.setLimits(path, definition.getLimits());
  std::vector<Assignment> assignments;
  for (const auto& work : definition.getWork())
    assignments.push_back(assign(step, -1, path, work, definition));
  workers.spawn(step, path, assignments);
}

void Stage::spawn(uint32_t step, int32_t op, const std::string& cgroup, rpc::WorkSpec::Reader work) {
  workers.spawn(step, cgroup, {assign(step, op, cgroup, work, {})});
}

// The cgroups among which cgroupChurn moves are siblings of its own.
Assignment Stage::assign(uint32_t step, int32_t op, const std::string& cgroup, rpc::WorkSpec::Reader work,
                         rpc::CgroupDef::Reader defaults) {
  Assignment assignment{work, settingsOf(work, defaults), affinities(step, op, cgroup, workName(work)), {}};
  const uint32_t siblings = work.getType().isCgroupChurn() ? work.getType().getCgroupChurn().getGroups() : 0;
  for (uint32_t i = 0; i < siblings; i++) {
    const std::string path = text(cgroup, churnInfix, i);
    cgroups.create(path, step);
    cgroups.setCpus(path, cgroups.effectiveCpus(cgroup));
    assignment.surroundings.churnCgroups.push_back(cgroups.procsFile(path));
  }
  return assignment;
}

void Stage::setCpuset(uint32_t step, int32_t op, const std::string& cgroup) {
  for (const auto& resolved : orders_.getCpusets()) {
    if (resolved.getStep() != step || resolved.getOp() != op || cgroup != resolved.getCgroup().cStr())
      continue;
    std::vector<uint32_t> cpus = cpuNumbers(resolved.getCpus());
    cgroups.setCpus(cgroup, cpus.empty() ? std::nullopt : std::optional(std::move(cpus)));
    return workers.cpusetsChanged();
  }
  throw Failure(FailureName::ORDERS_INVALID,
                text("the orders have no cpuset for ", cgroup, " at step ", step));
}

std::vector<std::vector<uint32_t>> Stage::affinities(uint32_t step, int32_t op, const std::string& cgroup,
                                                     const std::string& work) const {
  std::vector<std::vector<uint32_t>> result;
  for (const auto& resolved : orders_.getAffinities()) {
    if (resolved.getStep() != step || resolved.getOp() != op || cgroup != resolved.getCgroup().cStr() ||
        work != resolved.getWork().cStr()) {
      continue;
    }
    for (const auto& list : resolved.getCpus()) result.push_back(parseCpuList(list.cStr()));
  }
  return result;
}

uint32_t Stage::setAffinity(uint32_t step, int32_t op, const std::string& cgroup) {
  return workers.setAffinity(cgroup, affinities(step, op, cgroup, ""));
}

uint32_t Stage::moveTasks(const std::string& from, const std::string& to) {
  const bool toBackdrop = cgroups.ownerOf(to) == rpc::BACKDROP_STEP;
  const auto owner = toBackdrop ? std::optional<uint32_t>(rpc::BACKDROP_STEP) : std::nullopt;
  const uint32_t moved = workers.move(from, to, owner);
  return moved + payloads.move(from, to, owner);
}

void Stage::stopCgroup(const std::string& path) {
  cgroups.thaw(path);
  stop([&](const Worker& worker) { return worker.place == path; },
       [&](const RunningPayload& payload) { return payload.cgroup == path; });
}

void Stage::removeCgroup(const std::string& path) {
  stopCgroup(path);
  cgroups.remove(path);
  for (uint32_t i = 0; cgroups.exists(text(path, churnInfix, i)); i++)
    cgroups.remove(text(path, churnInfix, i));
}

void Stage::endStep(uint32_t step) {
  workers.abandon();
  cgroups.thawAll();
  stop([&](const Worker& worker) { return worker.owner == step; },
       [&](const RunningPayload& payload) { return payload.owner == step; });
  if (unkillable_) return;
  cgroups.removeAll(step);
}

void Stage::stop(const Workers::Choice& ofWorkers, const Payloads::Choice& ofPayloads) {
  const auto ended = [&] { return workers.allEnded(ofWorkers) && !payloads.any(ofPayloads); };
  workers.tellStop(ofWorkers);
  payloads.kill(ofPayloads);
  if (!supervisor_.wait(inMilliseconds(stopBoundMs(workers.all().size())), ended)) {
    workers.killStuck(ofWorkers);
    if (!supervisor_.wait(inMilliseconds(killBoundMs), ended)) unkillable_ = true;
  }
  workers.report(ofWorkers);
}

}  // namespace ktstr::agent
