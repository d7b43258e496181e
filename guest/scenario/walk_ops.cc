#include <algorithm>
#include <utility>

#include "guest/scenario/affinity.h"
#include "guest/scenario/validate.h"
#include "guest/scenario/walk.h"
#include "protocol/map_write.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint32_t maxWatches = 16, maxExpression = 128;

}  // namespace

void ScenarioWalk::walkOp(const std::string& place, int32_t index, rpc::Op::Reader op) {
  switch (op.which()) {
    case rpc::Op::ADD_CGROUP:
      return model_.add(place + ".addCgroup", string(op.getAddCgroup()), step_, false);
    case rpc::Op::REMOVE_CGROUP: {
      const std::string cgroup = string(op.getRemoveCgroup());
      model_.remove(place + ".removeCgroup", cgroup, step_);
      return endPayloadsOf(cgroup);
    }
    case rpc::Op::SET_CPUSET:
      return walkSetCpuset(place + ".setCpuset", index, op.getSetCpuset());
    case rpc::Op::CLEAR_CPUSET:
      model_.require(place + ".clearCpuset", string(op.getClearCpuset()));
      return model_.setCpuset(place + ".clearCpuset", string(op.getClearCpuset()), std::nullopt);
    case rpc::Op::SWAP_CPUSETS:
      return walkSwapCpusets(place + ".swapCpusets", op.getSwapCpusets());
    case rpc::Op::STOP_CGROUP: {
      const std::string cgroup = string(op.getStopCgroup());
      model_.requireOwn(place + ".stopCgroup", cgroup, step_);
      model_.stop(cgroup);
      return endPayloadsOf(cgroup);
    }
    case rpc::Op::SLEEP_MS:
      return checkMilliseconds(place + ".sleepMs", op.getSleepMs());
    case rpc::Op::SPAWN:
      if (inLoop_) refuse(place + ".spawn", "in a loop the reports of its rounds could not be told apart");
      if (op.getSpawn().getCgroup().size() > 0)
        model_.require(place + ".spawn.cgroup", string(op.getSpawn().getCgroup()));
      return walkWork(place + ".spawn.work", string(op.getSpawn().getCgroup()), op.getSpawn().getWork(), {},
                      index);
    case rpc::Op::SET_AFFINITY:
      return walkSetAffinity(place + ".setAffinity", index, op.getSetAffinity());
    case rpc::Op::MOVE_ALL_TASKS:
      return walkMove(place + ".moveAllTasks", op.getMoveAllTasks());
    case rpc::Op::FREEZE_CGROUP:
      model_.require(place + ".freezeCgroup", string(op.getFreezeCgroup()));
      return model_.freeze(string(op.getFreezeCgroup()), true);
    case rpc::Op::UNFREEZE_CGROUP:
      model_.require(place + ".unfreezeCgroup", string(op.getUnfreezeCgroup()));
      return model_.freeze(string(op.getUnfreezeCgroup()), false);
    case rpc::Op::SET_LIMITS:
      model_.require(place + ".setLimits.cgroup", string(op.getSetLimits().getCgroup()));
      return checkLimits(place + ".setLimits.limits", op.getSetLimits().getLimits());
    case rpc::Op::RUN_PAYLOAD:
      return walkRunPayload(place + ".runPayload", op.getRunPayload());
    case rpc::Op::WAIT_PAYLOAD:
      return walkWaitPayload(place + ".waitPayload", op.getWaitPayload());
    case rpc::Op::KILL_PAYLOAD:
      return endPayload(running(place + ".killPayload", string(op.getKillPayload())));
    case rpc::Op::SNAPSHOT:
      return checkWord(place + ".snapshot", view(op.getSnapshot()));
    case rpc::Op::WATCH:
      return walkWatch(place + ".watch", view(op.getWatch()));
    case rpc::Op::WRITE_MAP:
      return walkWriteMap(place + ".writeMap", op.getWriteMap());
    case rpc::Op::ATTACH_SCHEDULER:
    case rpc::Op::DETACH_SCHEDULER:
    case rpc::Op::REPLACE_SCHEDULER:
      return walkScheduler(place, op);
  }
  refuse(place, "unknown operation; this build is older than the scenario");
}

void ScenarioWalk::walkSetCpuset(const std::string& place, int32_t index, rpc::Op::SetCpuset::Reader op) {
  const std::string cgroup = string(op.getCgroup());
  model_.require(place + ".cgroup", cgroup);
  std::optional<Cpus> cpus = at(place + ".cpuset", [&] { return resolveCpuset(op.getCpuset(), topology_); });
  cpusets_.push_back({step_, cgroup, index, cpus.value_or(Cpus())});
  model_.setCpuset(place + ".cpuset", cgroup, std::move(cpus));
}

void ScenarioWalk::walkSwapCpusets(const std::string& place, rpc::Op::SwapCpusets::Reader op) {
  const std::string a = string(op.getA()), b = string(op.getB());
  model_.require(place + ".a", a);
  model_.require(place + ".b", b);
  if (a == b) refuse(place + ".b", text('"', b, "\" is the same cgroup as \"a\""));
  if (!model_.cpuset(a) && !model_.cpuset(b)) {
    refuse(place, text("neither \"", a, "\" nor \"", b, "\" has a cpuset of its own at this point"));
  }
  const std::optional<Cpus> ofA = model_.cpuset(a), ofB = model_.cpuset(b);
  model_.setCpuset(place, a, std::nullopt);
  model_.setCpuset(place, b, ofA);
  model_.setCpuset(place, a, ofB);
}

void ScenarioWalk::walkSetAffinity(const std::string& place, int32_t index, rpc::Op::SetAffinity::Reader op) {
  const std::string cgroup = string(op.getCgroup());
  model_.require(place + ".cgroup", cgroup);
  const uint32_t workers = model_.tasks(cgroup);
  if (workers == 0) refuse(place + ".cgroup", text('"', cgroup, "\" has no worker at this point"));
  std::vector<Cpus> cpus = at(place + ".affinity", [&] {
    return resolveAffinity(op.getAffinity(), workers, model_.cpus(cgroup), topology_);
  });
  if (!cpus.empty()) affinities_.push_back({step_, cgroup, "", index, std::move(cpus)});
}

void ScenarioWalk::walkMove(const std::string& place, rpc::Op::MoveAllTasks::Reader op) {
  const std::string from = string(op.getFrom()), to = string(op.getTo());
  model_.move(place, from, to);
  for (auto& [name, payload] : payloads_) {
    if (payload.cgroup != from) continue;
    payload.cgroup = to;
    if (model_.ownerOf(to) == rpc::BACKDROP_STEP) payload.step = rpc::BACKDROP_STEP;
  }
}

void ScenarioWalk::walkRunPayload(const std::string& place, rpc::Payload::Reader payload) {
  if (inLoop_) refuse(place, "in a loop the reports of its rounds could not be told apart");
  checkWord(place + ".name", view(payload.getName()));
  const std::string name = string(payload.getName()), cgroup = string(payload.getCgroup());
  const auto known = payloads_.find(name);
  if (known != payloads_.end() && (!known->second.ended || known->second.step == step_)) {
    refuse(place + ".name",
           text("a payload \"", name, "\" ", known->second.ended ? "has run in this step" : "still runs"),
           "give each a name of its own");
  }
  const std::string_view binary = view(payload.getBinary());
  if (binary.empty() || binary.ends_with('/'))
    refuse(place + ".binary", text('"', binary, "\" names no program"));
  if (!cgroup.empty()) model_.require(place + ".cgroup", cgroup);
  model_.addTasks(place + ".cgroup", cgroup, step_, 1);
  payloads_[name] = {step_, cgroup};
}

ScenarioWalk::Payload& ScenarioWalk::running(const std::string& place, const std::string& name) {
  std::string known;
  for (auto& [other, payload] : payloads_) {
    if (payload.ended) continue;
    if (other == name) return payload;
    known += (known.empty() ? "" : ", ") + other;
  }
  refuse(place, text("no payload \"", name, "\" runs at this point of the step"),
         known.empty() ? "none runs" : "there are: " + known);
}

void ScenarioWalk::walkWaitPayload(const std::string& place, rpc::Op::WaitPayload::Reader op) {
  Payload& payload = running(place + ".name", string(op.getName()));
  checkMilliseconds(place + ".timeoutMs", op.getTimeoutMs());
  if (model_.frozen(payload.cgroup)) {
    refuse(place,
           text("\"", view(op.getName()), "\" is in the frozen cgroup \"", payload.cgroup,
                "\" and will not end"),
           "unfreezeCgroup first");
  }
  endPayload(payload);
}

void ScenarioWalk::endPayload(Payload& payload) {
  payload.ended = true;
  model_.endTask(payload.cgroup, payload.step);
}

void ScenarioWalk::endPayloadsOf(const std::string& cgroup) {
  for (auto& [name, payload] : payloads_) {
    if (payload.cgroup == cgroup) payload.ended = true;
  }
}

void ScenarioWalk::walkWatch(const std::string& place, std::string_view expression) {
  const auto isPrintable = [](char c) { return c >= ' ' && c <= '~'; };
  if (expression.empty() || expression.size() > maxExpression ||
      !std::all_of(expression.begin(), expression.end(), isPrintable))
    refuse(place, text("an expression has 1 to ", maxExpression, " printable bytes"));
  if (inLoop_) refuse(place, "a loop would ask for it in every round");
  if (++watches_ > maxWatches) refuse(place, text("more than ", maxWatches, " watches in a scenario"));
}

void ScenarioWalk::walkWriteMap(const std::string& place, capnp::List<capnp::Text>::Reader writes) {
  if (step_ == rpc::BACKDROP_STEP)
    refuse(place, "a scheduler's values belong to a step", "put it into the first step");
  if (inLoop_) refuse(place, "a loop would write in every round");
  if (attached_ == false) {
    refuse(place, "no scheduler is attached at this point, into which could be written",
           "name one with --scheduler, or use attachScheduler");
  }
  if (writes.size() == 0) refuse(place, "nothing is to be written", "give MAP:PLACE=VALUE");
  mapWrites_ += writes.size();
  if (mapWrites_ > maxMapWrites) refuse(place, text("more than ", maxMapWrites, " writes in a scenario"));
  std::set<std::pair<std::string, std::string>> places;
  for (const auto word : writes) {
    MapWrite write;
    try {
      write = parseMapWrite(string(word));
    } catch (const Error&) {
      refuse(place, text('"', view(word), "\" is not MAP:PLACE=VALUE"), "as in .bss:limit=7");
    }
    if (!places.emplace(write.map, write.place).second)
      refuse(place, text(write.map, ':', write.place, " is to be written twice at once"));
  }
}

void ScenarioWalk::requireScheduler(const std::string& place, std::string_view name) const {
  if (name.empty()) {
    if (underTest_ == false) refuse(place, "there is no scheduler under test", "name one with --scheduler");
    return;
  }
  std::string known;
  for (const auto& scheduler : scenario_.getSchedulers()) {
    if (view(scheduler.getName()) == name) return;
    known += (known.empty() ? "" : ", ") + string(scheduler.getName());
  }
  refuse(place, text("there is no scheduler \"", name, "\" in the scenario's schedulers"),
         known.empty() ? "there are none; \"\" is the one under test" : "there are: " + known);
}

void ScenarioWalk::walkScheduler(const std::string& place, rpc::Op::Reader op) {
  if (step_ == rpc::BACKDROP_STEP)
    refuse(place, "a scheduler belongs to a step", "put it into the first step");
  if (op.isAttachScheduler()) {
    requireScheduler(place + ".attachScheduler", view(op.getAttachScheduler()));
    if (attached_ == true) {
      refuse(place + ".attachScheduler", "a scheduler is attached at this point",
             "use replaceScheduler, or detachScheduler first");
    }
  } else if (attached_ == false) {
    refuse(text(place, op.isDetachScheduler() ? ".detachScheduler" : ".replaceScheduler"),
           "no scheduler is attached at this point", "name one with --scheduler, or use attachScheduler");
  }
  if (op.isReplaceScheduler()) requireScheduler(place + ".replaceScheduler", view(op.getReplaceScheduler()));
  attached_ = !op.isDetachScheduler();
}

}  // namespace ktstr
