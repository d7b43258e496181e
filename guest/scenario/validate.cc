#include "guest/scenario/validate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "guest/scenario/work_types.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Cpus = std::vector<uint32_t>;

[[noreturn]] void refuse(const std::string& place, const std::string& reason, const std::string& hint = {}) {
  throw Error(ExitCode::usage, "scenario-invalid", place + ": " + reason, hint);
}

std::string_view view(capnp::Text::Reader value) {
  return {value.begin(), value.size()};
}

bool isWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.';
}

bool isWord(std::string_view word) {
  return !word.empty() && word.size() <= 64 && std::all_of(word.begin(), word.end(), isWordCharacter);
}

void checkScenarioName(std::string_view name) {
  const bool good = isWord(name) && std::all_of(name.begin(), name.end(),
                                                [](char c) { return c != '.' && !(c >= 'A' && c <= 'Z'); });
  if (!good) refuse("name", text('"', name, "\" is not 1-64 of the characters a-z 0-9 _ -"));
}

void checkWord(const std::string& place, std::string_view word) {
  if (!isWord(word)) refuse(place, text('"', word, "\" is not 1-64 of the characters A-Z a-z 0-9 _ . -"));
}

void checkMilliseconds(const std::string& place, double value) {
  if (!(value >= 1 && value <= maxMilliseconds)) {
    refuse(place, text(value, " ms is not from 1 to ", maxMilliseconds, " ms"));
  }
}

std::string parentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool isBelow(const std::string& path, const std::string& ancestor) {
  return path.size() > ancestor.size() + 1 && path.starts_with(ancestor) && path[ancestor.size()] == '/';
}

// The cgroups of one step as they are at one point of it, the way the kernel will have them.
class CgroupModel {
 public:
  explicit CgroupModel(const Topology& topology) : topology_(topology) {}

  void add(const std::string& place, const std::string& path, bool withWork) {
    checkPath(place, path);
    const auto known = groups_.find(path);
    if (known != groups_.end() && !known->second.implied) {
      refuse(place, text("a cgroup \"", path, "\" is there already"));
    }
    if (withWork && known != groups_.end()) {
      refuse(place, text("\"", path, "\" has child cgroups and cannot have work itself"),
             "cgroup v2 keeps processes in leaves: give the work a child of its own");
    }
    for (std::string up = parentOf(path); !up.empty(); up = parentOf(up)) {
      Group& parent = groups_.try_emplace(up, Group{.implied = true}).first->second;
      if (parent.hasWork) {
        refuse(place, text("\"", up, "\" has work and cannot have child cgroups"),
               "cgroup v2 keeps processes in leaves: give the work a child of its own");
      }
    }
    groups_[path] = Group{.hasWork = withWork};
  }

  void remove(const std::string& place, const std::string& path) {
    require(place, path);
    for (const auto& [other, group] : groups_) {
      if (isBelow(other, path)) refuse(place, text("\"", path, "\" still has the child \"", other, '"'));
    }
    groups_.erase(path);
  }

  void require(const std::string& place, const std::string& path) const {
    if (groups_.contains(path)) return;
    std::string known;
    for (const auto& [other, group] : groups_) known += (known.empty() ? "" : ", ") + other;
    refuse(place, text("there is no cgroup \"", path, "\" at this point of the step"),
           known.empty() ? "there are no cgroups" : "there are: " + known);
  }

  void setCpuset(const std::string& place, const std::string& path, rpc::CpusetSpec::Reader spec) {
    std::optional<Cpus> cpus;
    try {
      cpus = resolveCpuset(spec, topology_);
    } catch (const Error& error) {
      throw Error(error.code(), error.name(), place + "." + error.message(), error.hint());
    }
    const Cpus outer = effective(parentOf(path));
    if (cpus) requireInside(place, path, *cpus, outer);
    groups_[path].cpus = cpus;
    for (const auto& [other, group] : groups_) {
      if (isBelow(other, path) && group.cpus)
        requireInside(place, other, *group.cpus, effective(parentOf(other)));
    }
  }

  // Where processes of `path` may run ("" = the root).
  Cpus effective(const std::string& path) const {
    for (std::string up = path; !up.empty(); up = parentOf(up)) {
      const auto found = groups_.find(up);
      if (found != groups_.end() && found->second.cpus) return *found->second.cpus;
    }
    Cpus all;
    for (uint32_t cpu = 0; cpu < topology_.vcpus(); cpu++) all.push_back(cpu);
    return all;
  }

 private:
  struct Group {
    bool hasWork = false;
    bool implied = false;  // only there because a child is
    std::optional<Cpus> cpus = {};
  };

  static void checkPath(const std::string& place, const std::string& path) {
    if (path.size() > 200) refuse(place, text("a path of ", path.size(), " bytes; at most 200"));
    size_t begin = 0;
    for (;;) {
      const size_t end = std::min(path.find('/', begin), path.size());
      const std::string component = path.substr(begin, end - begin);
      checkWord(place, component);
      if (component == "." || component == ".." || component.starts_with("cgroup.") ||
          component.starts_with("cpu.") || component.starts_with("cpuset.") ||
          component.starts_with("memory.") || component.starts_with("pids.")) {
        refuse(place, text('"', component, "\" would collide with a file of cgroupfs"));
      }
      if (end == path.size()) return;
      begin = end + 1;
    }
  }

  static void requireInside(const std::string& place, const std::string& path, const Cpus& inner,
                            const Cpus& outer) {
    if (std::includes(outer.begin(), outer.end(), inner.begin(), inner.end())) return;
    refuse(place,
           text("CPUs ", cpuList(inner), " of \"", path, "\" are not inside its parent's ", cpuList(outer)));
  }

  const Topology& topology_;
  std::map<std::string, Group> groups_;
};

void checkAffinity(const std::string& place, rpc::WorkSpec::Reader work, const Topology& topology,
                   const Cpus& allowed) {
  Cpus wanted = cpuNumbers(work.getAffinity());
  std::sort(wanted.begin(), wanted.end());
  if (!wanted.empty() && wanted.back() >= topology.vcpus()) {
    refuse(place, text("CPU ", wanted.back(), " does not exist; the topology ", topology.toString(),
                       " has CPUs 0-", topology.vcpus() - 1));
  }
  if (!std::includes(allowed.begin(), allowed.end(), wanted.begin(), wanted.end())) {
    refuse(place, text("CPUs ", cpuList(wanted), " are not inside the cgroup's ", cpuList(allowed)));
  }
}

void checkWork(const std::string& place, rpc::WorkSpec::Reader work, const Topology& topology,
               const Cpus& allowed) {
  if (work.getName().size() > 0) checkWord(place + ".name", view(work.getName()));
  if (work.getWorkers() == 0) refuse(place + ".workers", "0 workers; at least 1");
  if (work.getWorkers() > maxWorkers) {
    refuse(place + ".workers", text(work.getWorkers(), " workers; at most ", maxWorkers, " in a step"));
  }
  checkWorkType(place, work, topology);
  if (work.getNice() < -20 || work.getNice() > 19) {
    refuse(place + ".nice", text(static_cast<int>(work.getNice()), " is not from -20 to 19"));
  }
  checkAffinity(place + ".affinity", work, topology, allowed);
}

// Returns the number of workers.
uint32_t checkCgroup(const std::string& place, rpc::CgroupDef::Reader cgroup, const Topology& topology,
                     CgroupModel& model) {
  const std::string name(view(cgroup.getName()));
  model.add(place + ".name", name, true);
  model.setCpuset(place + ".cpuset", name, cgroup.getCpuset());
  if (cgroup.getCpuWeight() > 10000) {
    refuse(place + ".cpuWeight", text(cgroup.getCpuWeight(), " is not from 1 to 10000 (0: the default)"));
  }
  if (cgroup.getWork().size() == 0) refuse(place + ".work", "no work; at least one group of workers");
  std::set<std::string> names;
  uint64_t workers = 0;
  for (unsigned i = 0; i < cgroup.getWork().size(); i++) {
    const std::string where = text(place, ".work[", i, "]");
    const rpc::WorkSpec::Reader work = cgroup.getWork()[i];
    checkWork(where, work, topology, model.effective(name));
    if (!names.insert(workName(work)).second) {
      refuse(where + ".name", text("two work groups are called \"", workName(work), "\" in this cgroup"),
             "give each a \"name\" of its own");
    }
    workers += work.getWorkers();
  }
  return static_cast<uint32_t>(std::min<uint64_t>(workers, UINT32_MAX));
}

void checkOp(const std::string& place, rpc::Op::Reader op, CgroupModel& model) {
  switch (op.which()) {
    case rpc::Op::ADD_CGROUP:
      return model.add(place + ".addCgroup", std::string(view(op.getAddCgroup())), false);
    case rpc::Op::REMOVE_CGROUP:
      return model.remove(place + ".removeCgroup", std::string(view(op.getRemoveCgroup())));
    case rpc::Op::SET_CPUSET: {
      const std::string cgroup(view(op.getSetCpuset().getCgroup()));
      model.require(place + ".setCpuset.cgroup", cgroup);
      return model.setCpuset(place + ".setCpuset.cpuset", cgroup, op.getSetCpuset().getCpuset());
    }
    case rpc::Op::STOP_CGROUP:
      return model.require(place + ".stopCgroup", std::string(view(op.getStopCgroup())));
    case rpc::Op::SLEEP_MS:
      return checkMilliseconds(place + ".sleepMs", op.getSleepMs());
  }
  refuse(place, "unknown operation; this build is older than the scenario");
}

void checkHold(const std::string& place, rpc::HoldSpec::Reader hold, uint32_t durationMs) {
  if (hold.isFixedMs()) return checkMilliseconds(place + ".fixedMs", hold.getFixedMs());
  const double fraction = hold.getFraction();
  if (!std::isfinite(fraction) || fraction <= 0) {
    refuse(place + ".fraction", text(fraction, " is not a finite number above 0"));
  }
  checkMilliseconds(place + ".fraction", std::floor(fraction * durationMs));
}

// Returns the number of workers.
uint32_t checkStep(const std::string& place, rpc::Step::Reader step, const Topology& topology,
                   uint32_t durationMs) {
  if (step.getName().size() > 0) checkWord(place + ".name", view(step.getName()));
  CgroupModel model(topology);
  uint64_t workers = 0;
  for (unsigned i = 0; i < step.getCgroups().size(); i++) {
    workers += checkCgroup(text(place, ".cgroups[", i, "]"), step.getCgroups()[i], topology, model);
  }
  if (workers > maxWorkers) refuse(place, text(workers, " workers; at most ", maxWorkers, " in a step"));
  for (unsigned i = 0; i < step.getOps().size(); i++) {
    checkOp(text(place, ".ops[", i, "]"), step.getOps()[i], model);
  }
  checkHold(place + ".hold", step.getHold(), durationMs);
  return static_cast<uint32_t>(workers);
}

void checkAssertions(rpc::Assertions::Reader limits) {
  const auto check = [](const char* name, double value) {
    if (!std::isnan(value) && !(std::isfinite(value) && value >= 0)) {
      refuse(text("assertions.", name), text(value, " is not a finite number from 0"));
    }
  };
  check("maxSpreadPct", limits.getMaxSpreadPct());
  check("maxGapMs", limits.getMaxGapMs());
  check("maxP99WakeLatencyUs", limits.getMaxP99WakeLatencyUs());
  check("minIterationsPerSecond", limits.getMinIterationsPerSecond());
  check("maxMigrationRatio", limits.getMaxMigrationRatio());
  check("maxImbalanceRatio", limits.getMaxImbalanceRatio());
  check("maxLocalDsqDepth", limits.getMaxLocalDsqDepth());
}

}  // namespace

void validateScenario(rpc::Scenario::Reader scenario, const Topology& topology) {
  checkScenarioName(view(scenario.getName()));
  checkMilliseconds("durationMs", scenario.getDurationMs());
  if (scenario.getSteps().size() == 0) refuse("steps", "no step; at least one");
  uint64_t workers = 0;
  for (unsigned i = 0; i < scenario.getSteps().size(); i++) {
    workers += checkStep(text("steps[", i, "]"), scenario.getSteps()[i], topology, scenario.getDurationMs());
  }
  if (workers == 0) refuse("steps", "no step has a worker; nothing could be shown");
  checkAssertions(scenario.getAssertions());
}

}  // namespace ktstr
