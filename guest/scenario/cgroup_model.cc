#include "guest/scenario/cgroup_model.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr const char* leavesHint = "cgroup v2 keeps processes in leaves: give the work a child of its own";

bool isBelow(const std::string& path, const std::string& ancestor) {
  if (ancestor.empty()) return !path.empty();
  return path.size() > ancestor.size() + 1 && path.starts_with(ancestor) && path[ancestor.size()] == '/';
}

bool isInside(const std::vector<uint32_t>& inner, const std::vector<uint32_t>& outer) {
  return std::includes(outer.begin(), outer.end(), inner.begin(), inner.end());
}

void requireInside(const std::string& place, const std::string& path, const Cpus& inner, const Cpus& outer) {
  if (isInside(inner, outer)) return;
  refuse(place,
         text("CPUs ", cpuList(inner), " of \"", path, "\" are not inside its parent's ", cpuList(outer)));
}

}  // namespace

CgroupModel::CgroupModel(const Topology& topology) {
  Group root{.owner = rpc::BACKDROP_STEP};
  root.cpus.emplace(topology.vcpus());
  std::iota(root.cpus->begin(), root.cpus->end(), 0);
  root.mems.emplace(topology.nodes);
  std::iota(root.mems->begin(), root.mems->end(), 0);
  groups_[""] = std::move(root);
}

std::string CgroupModel::parentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

void CgroupModel::checkPath(const std::string& place, const std::string& path) {
  if (path.size() > 200) refuse(place, text("a path of ", path.size(), " bytes; at most 200"));
  for (size_t begin = 0;;) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string component = path.substr(begin, end - begin);
    checkWord(place, component);
    const auto isFile = [&](const char* prefix) { return component.starts_with(prefix); };
    constexpr const char* files[] = {"cgroup.", "cpu.", "cpuset.", "memory.", "pids.", "io."};
    if (component == "." || component == ".." || std::any_of(std::begin(files), std::end(files), isFile)) {
      refuse(place, text('"', component, "\" would collide with a file of cgroupfs"));
    }
    if (end == path.size()) return;
    begin = end + 1;
  }
}

void CgroupModel::add(const std::string& place, const std::string& path, uint32_t step, bool withWork) {
  checkPath(place, path);
  const auto known = groups_.find(path);
  if (known != groups_.end() && (!known->second.implied || known->second.owner != step)) {
    refuse(place, text("a cgroup \"", path, "\" is there already"));
  }
  if (withWork && known != groups_.end()) {
    refuse(place, text("\"", path, "\" has child cgroups and cannot have work itself"), leavesHint);
  }
  for (std::string up = parentOf(path); !up.empty(); up = parentOf(up)) {
    const Group& parent = groups_.try_emplace(up, Group{.owner = step, .implied = true}).first->second;
    if (!parent.tasks.empty()) {
      refuse(place, text("\"", up, "\" has work and cannot have child cgroups"), leavesHint);
    }
  }
  Group& group = groups_[path];
  group.owner = step;
  group.implied = false;
}

void CgroupModel::remove(const std::string& place, const std::string& path, uint32_t step) {
  requireOwn(place, path, step);
  for (const auto& [other, group] : groups_) {
    if (isBelow(other, path)) refuse(place, text("\"", path, "\" still has the child \"", other, '"'));
  }
  thaw(path);
  groups_.erase(path);
}

void CgroupModel::require(const std::string& place, const std::string& path) const {
  if (!path.empty() && groups_.contains(path)) return;
  std::string known;
  for (const auto& [other, group] : groups_) {
    if (!other.empty()) known += (known.empty() ? "" : ", ") + other;
  }
  refuse(place, text("there is no cgroup \"", path, "\" at this point of the step"),
         known.empty() ? "there are no cgroups" : "there are: " + known);
}

void CgroupModel::requireOwn(const std::string& place, const std::string& path, uint32_t step) const {
  require(place, path);
  if (groups_.at(path).owner == step) return;
  refuse(place, text("\"", path, "\" belongs to the backdrop, which lives until the scenario's end"),
         "freeze it or change its cpuset instead, or make it a cgroup of the step");
}

void CgroupModel::setCpuset(const std::string& place, const std::string& path, std::optional<Cpus> cpus) {
  if (cpus) requireInside(place, path, *cpus, this->cpus(parentOf(path)));
  groups_[path].cpus = std::move(cpus);
  for (const auto& [other, group] : groups_) {
    if (isBelow(other, path) && group.cpus) {
      requireInside(place, other, *group.cpus, this->cpus(parentOf(other)));
    }
  }
}

void CgroupModel::setMems(const std::string& place, const std::string& path,
                          std::optional<std::vector<uint32_t>> nodes) {
  const std::vector<uint32_t> outer = mems(parentOf(path));
  if (nodes && !isInside(*nodes, outer)) {
    refuse(place, text("nodes ", cpuList(*nodes), " are not inside its parent's ", cpuList(outer)));
  }
  groups_[path].mems = std::move(nodes);
}

Cpus CgroupModel::cpus(const std::string& path) const {
  for (std::string up = path;; up = parentOf(up)) {
    const auto found = groups_.find(up);
    if (found != groups_.end() && found->second.cpus) return *found->second.cpus;
  }
}

std::vector<uint32_t> CgroupModel::mems(const std::string& path) const {
  for (std::string up = path;; up = parentOf(up)) {
    const auto found = groups_.find(up);
    if (found != groups_.end() && found->second.mems) return *found->second.mems;
  }
}

void CgroupModel::requireLeaf(const std::string& place, const std::string& path) const {
  if (path.empty()) return;  // the machine's root is above the scenario's and may have processes
  require(place, path);
  for (const auto& [other, group] : groups_) {
    if (!isBelow(other, path)) continue;
    refuse(place, text("\"", path, "\" has the child \"", other, "\" and cannot have tasks itself"),
           leavesHint);
  }
}

void CgroupModel::addTasks(const std::string& place, const std::string& path, uint32_t step, uint32_t count) {
  requireLeaf(place, path);
  groups_.at(path).tasks[step] += count;
}

void CgroupModel::endTask(const std::string& path, uint32_t step) {
  auto& tasks = groups_.at(path).tasks;
  const auto found = tasks.find(step);
  if (found != tasks.end() && --found->second == 0) tasks.erase(found);
}

void CgroupModel::stop(const std::string& path) {
  thaw(path);
  groups_.at(path).tasks.clear();
}

void CgroupModel::move(const std::string& place, const std::string& from, const std::string& to) {
  require(place + ".from", from);
  requireLeaf(place + ".to", to);
  if (from == to || to.empty()) refuse(place + ".to", "is not another cgroup of the scenario");
  Group &source = groups_.at(from), &target = groups_.at(to);
  if (source.tasks.empty()) refuse(place + ".from", text("\"", from, "\" has no task at this point"));
  const bool toBackdrop = target.owner == rpc::BACKDROP_STEP;
  if (!toBackdrop && source.tasks.contains(rpc::BACKDROP_STEP)) {
    refuse(place,
           text("the backdrop's tasks of \"", from, "\" would be left in \"", to,
                "\", which ends with its step"),
           "move them into another cgroup of the backdrop");
  }
  for (const auto& [step, count] : source.tasks)
    target.tasks[toBackdrop ? rpc::BACKDROP_STEP : step] += count;
  source.tasks.clear();
}

uint32_t CgroupModel::tasks(const std::string& path) const {
  uint32_t count = 0;
  for (const auto& [step, each] : groups_.at(path).tasks) count += each;
  return count;
}

uint32_t CgroupModel::allTasks() const {
  uint32_t count = 0;
  for (const auto& [path, group] : groups_) count += tasks(path);
  return count;
}

bool CgroupModel::frozen(const std::string& path) const {
  for (std::string up = path; !up.empty(); up = parentOf(up)) {
    if (groups_.at(up).frozen) return true;
  }
  return false;
}

void CgroupModel::thaw(const std::string& path) {
  for (std::string up = path; !up.empty(); up = parentOf(up)) groups_.at(up).frozen = false;
}

void CgroupModel::endStep(uint32_t step) {
  for (auto& [path, group] : groups_) {
    group.tasks.erase(step);
    group.frozen = false;
  }
  std::erase_if(groups_, [&](const auto& each) { return !each.first.empty() && each.second.owner == step; });
}

}  // namespace ktstr
