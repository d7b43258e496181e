#include "guest/scenario/walk.h"

#include <algorithm>

#include "guest/scenario/affinity.h"
#include "guest/scenario/validate.h"
#include "guest/scenario/work_types.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr unsigned maxSchedulers = 16;

// Where one worker or another of a group may run.
Cpus reachable(const Cpus& allowed, const std::vector<Cpus>& affinity) {
  if (affinity.empty()) return allowed;
  Cpus cpus = allowed;
  std::erase_if(cpus, [&](uint32_t cpu) {
    return std::none_of(affinity.begin(), affinity.end(), [cpu](const Cpus& one) {
      return std::find(one.begin(), one.end(), cpu) != one.end();
    });
  });
  return cpus;
}

void checkWorkSpec(const std::string& place, rpc::WorkSpec::Reader work, const Topology& topology) {
  if (work.getName().size() > 0) checkWord(place + ".name", view(work.getName()));
  if (work.getWorkers() == 0) refuse(place + ".workers", "0 workers; at least 1");
  if (work.getWorkers() > maxWorkers) {
    refuse(place + ".workers", text(work.getWorkers(), " workers; at most ", maxWorkers, " at a time"));
  }
  checkWorkType(place, work, topology);
  checkNice(place + ".nice", work.getNice());
  checkPolicy(place, work);
  checkTaskName(place + ".comm", view(work.getComm()));
  checkTaskName(place + ".pcomm", view(work.getPcomm()));
}

}  // namespace

ScenarioWalk::ScenarioWalk(rpc::Scenario::Reader scenario, const Topology& topology,
                           std::optional<bool> underScheduler)
    : scenario_(scenario),
      topology_(topology),
      model_(topology),
      underTest_(underScheduler),
      attached_(underScheduler) {}

void ScenarioWalk::run() {
  checkSchedulers();
  walkBackdrop();
  for (uint32_t index = 0; index < scenario_.getSteps().size(); index++) walkStep(index);
  if (workers_ == 0) refuse("steps", "no step has a worker; nothing could be shown");
}

void ScenarioWalk::checkSchedulers() const {
  const auto schedulers = scenario_.getSchedulers();
  if (schedulers.size() > maxSchedulers) {
    refuse("schedulers", text(schedulers.size(), " schedulers; at most ", maxSchedulers));
  }
  std::set<std::string> names;
  for (unsigned i = 0; i < schedulers.size(); i++) {
    const std::string place = text("schedulers[", i, "]");
    checkWord(place + ".name", view(schedulers[i].getName()));
    if (!names.insert(string(schedulers[i].getName())).second) {
      refuse(place + ".name", text("two schedulers are called \"", view(schedulers[i].getName()), '"'));
    }
    if (schedulers[i].getBinary().size() == 0) refuse(place + ".binary", "names no binary");
  }
}

void ScenarioWalk::walkBackdrop() {
  step_ = rpc::BACKDROP_STEP;
  walkCgroups("backdrop", scenario_.getBackdrop().getCgroups());
  walkOps("backdrop", scenario_.getBackdrop().getOps());
}

void ScenarioWalk::walkStep(uint32_t index) {
  step_ = index;
  const std::string place = text("steps[", index, "]");
  const rpc::Step::Reader step = scenario_.getSteps()[index];
  if (step.getName().size() > 0) checkWord(place + ".name", view(step.getName()));
  walkCgroups(place, step.getCgroups());
  inLoop_ = step.getHold().isLoop();
  walkOps(place, step.getOps());
  if (inLoop_) walkLoop(place, step);
  inLoop_ = false;
  const auto hold = step.getHold();
  if (hold.isFixedMs()) checkMilliseconds(place + ".hold.fixedMs", hold.getFixedMs());
  if (hold.isFraction())
    checkFraction(place + ".hold.fraction", hold.getFraction(), scenario_.getDurationMs());
  model_.endStep(index);
  std::erase_if(payloads_, [&](const auto& each) { return each.second.step == index; });
}

// What a second round of the ops finds is what every later one finds, if it resolves to the same CPUs.
void ScenarioWalk::walkLoop(const std::string& place, rpc::Step::Reader step) {
  const auto loop = step.getHold().getLoop();
  checkMilliseconds(place + ".hold.loop.intervalMs", loop.getIntervalMs());
  checkFraction(place + ".hold.loop.fraction", loop.getFraction(), scenario_.getDurationMs());
  if (step.getOps().size() == 0) refuse(place + ".ops", "a loop without operations; hold without it");
  const std::vector<AffinityUse> first = affinities_;
  const std::vector<CpusetUse> cpusets = cpusets_;
  try {
    walkOps(place, step.getOps());
  } catch (const Error& error) {
    throw Error(error.code(), error.name(), error.message() + ", in the second round of the loop",
                error.hint());
  }
  const auto ofOps = [&](const std::vector<AffinityUse>& all, size_t from) {
    std::vector<AffinityUse> uses(all.begin() + static_cast<ptrdiff_t>(from), all.end());
    std::erase_if(uses, [&](const AffinityUse& use) { return use.step != step_ || use.op < 0; });
    return uses;
  };
  if (ofOps(first, 0) != ofOps(affinities_, first.size())) {
    refuse(place + ".ops", "an affinity resolves to other CPUs in the second round of the loop",
           "put setCpuset before setAffinity");
  }
  affinities_ = first;
  cpusets_ = cpusets;
}

void ScenarioWalk::walkCgroups(const std::string& place, capnp::List<rpc::CgroupDef>::Reader cgroups) {
  for (unsigned i = 0; i < cgroups.size(); i++) walkCgroup(text(place, ".cgroups[", i, "]"), cgroups[i]);
  requireWorkers(place);
}

void ScenarioWalk::requireWorkers(const std::string& place) const {
  const uint32_t count = model_.allTasks();
  if (count > maxWorkers) refuse(place, text(count, " workers; at most ", maxWorkers, " at a time"));
}

void ScenarioWalk::walkCgroup(const std::string& place, rpc::CgroupDef::Reader cgroup) {
  const std::string name = string(cgroup.getName());
  model_.add(place + ".name", name, step_, true);
  std::optional<Cpus> cpus =
      at(place + ".cpuset", [&] { return resolveCpuset(cgroup.getCpuset(), topology_); });
  cpusets_.push_back({step_, name, -1, cpus.value_or(Cpus())});
  model_.setCpuset(place + ".cpuset", name, std::move(cpus));
  if (cgroup.getCpusetMems().size() > 0) {
    checkNodes(place + ".cpusetMems", cgroup.getCpusetMems(), topology_);
    std::vector<uint32_t> nodes = cpuNumbers(cgroup.getCpusetMems());
    std::sort(nodes.begin(), nodes.end());
    model_.setMems(place + ".cpusetMems", name, std::move(nodes));
  }
  checkLimits(place + ".limits", cgroup.getLimits());
  checkNice(place + ".nice", cgroup.getNice());
  checkTaskName(place + ".comm", view(cgroup.getComm()));
  checkTaskName(place + ".pcomm", view(cgroup.getPcomm()));
  if (cgroup.getWork().size() == 0) {
    refuse(place + ".work", "no work; at least one group of workers", "addCgroup makes an empty cgroup");
  }
  for (unsigned i = 0; i < cgroup.getWork().size(); i++) {
    walkWork(text(place, ".work[", i, "]"), name, cgroup.getWork()[i], cgroup, -1);
  }
}

void ScenarioWalk::walkWork(const std::string& place, const std::string& cgroup, rpc::WorkSpec::Reader work,
                            rpc::CgroupDef::Reader defaults, int32_t op) {
  checkWorkSpec(place, work, topology_);
  if (work.getType().isCgroupChurn() && (work.getPcomm().size() > 0 || defaults.getPcomm().size() > 0)) {
    refuse(place + ".pcomm",
           "cgroupChurn moves whole processes, so it cannot be a thread of one with others");
  }
  if (work.getType().isCustom() && (work.getPcomm().size() > 0 || defaults.getPcomm().size() > 0)) {
    refuse(place + ".pcomm", "custom work has its own program as its process", "leave it out");
  }
  const Cpus allowed = model_.cpus(cgroup);
  std::vector<Cpus> affinity = affinityOf(place, work, defaults.getNumaNode(), allowed);
  if (work.getPolicy().isDeadline()) checkDeadline(place, allowed, affinity);
  checkPlaceOfWork(place + ".type", work.getType(), topology_, reachable(allowed, affinity),
                   model_.mems(cgroup));
  checkMemory(place + ".memory", work.getMemory(), topology_, model_.mems(cgroup));
  if (!works_.insert({step_, cgroup, workName(work)}).second) {
    refuse(place + ".name", text("two work groups are called \"", workName(work), "\" in this cgroup"),
           "give each a \"name\" of its own");
  }
  if (!affinity.empty()) affinities_.push_back({step_, cgroup, workName(work), op, std::move(affinity)});
  model_.addTasks(place, cgroup, step_, work.getWorkers());
  workers_ += work.getWorkers();
}

std::vector<Cpus> ScenarioWalk::affinityOf(const std::string& place, rpc::WorkSpec::Reader work,
                                           int32_t numaNode, const Cpus& allowed) const {
  const bool own = !work.getAffinity().isInherit();
  if (own && work.getNumaNode() != -1) {
    refuse(place + ".numaNode", "contradicts \"affinity\": both say where the workers run",
           "leave one of them out");
  }
  if (own) {
    return at(place + ".affinity",
              [&] { return resolveAffinity(work.getAffinity(), work.getWorkers(), allowed, topology_); });
  }
  const int32_t node = work.getNumaNode() != -1 ? work.getNumaNode() : numaNode;
  if (node == -1) return {};
  return {at(place, [&] { return resolveNode(node, allowed, topology_); })};
}

void ScenarioWalk::checkDeadline(const std::string& place, const Cpus& allowed,
                                 const std::vector<Cpus>& affinity) const {
  const bool cut = allowed.size() < topology_.vcpus() ||
                   (!affinity.empty() && affinity.front().size() < topology_.vcpus());
  if (cut) {
    refuse(place + ".policy.deadline", "the kernel admits no deadline task that may not run on every CPU",
           "leave cpuset and affinity out");
  }
}

void ScenarioWalk::walkOps(const std::string& place, capnp::List<rpc::Op>::Reader ops) {
  for (unsigned i = 0; i < ops.size(); i++) {
    walkOp(text(place, ".ops[", i, "]"), static_cast<int32_t>(i), ops[i]);
  }
  requireWorkers(place);
}

}  // namespace ktstr
