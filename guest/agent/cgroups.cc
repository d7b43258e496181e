#include "guest/agent/cgroups.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <sstream>

#include "guest/agent/failure.h"
#include "guest/topology.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

void makeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return;
  throw Failure(FailureName::CGROUP_FAILED, withErrno("make cgroup " + path, errno));
}

// cgroupfs takes one whole value per write.
void writeValue(const std::string& path, const std::string& value) {
  const Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || write(file.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
    throw Failure(FailureName::CGROUP_FAILED, withErrno(text("write \"", value, "\" to ", path), errno));
  }
}

bool isOurs(const std::string& controller) {
  constexpr const char* ours[] = {"cpuset", "cpu", "memory", "io", "pids"};
  return std::find(std::begin(ours), std::end(ours), controller) != std::end(ours);
}

// Waits up to 1 s.
bool removeDirectory(const std::string& path) {
  const uint64_t deadline = monotonicNs() + 1'000'000'000;
  while (rmdir(path.c_str()) != 0) {
    if (errno != EBUSY) throw Failure(FailureName::CGROUP_FAILED, withErrno("remove cgroup " + path, errno));
    if (monotonicNs() >= deadline) return false;
    usleep(1000);
  }
  return true;
}

std::string parentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

}  // namespace

Cgroups::Cgroups(std::string mount, const std::string& name)
    : mount_(std::move(mount)), root_(mount_ + "/" + name) {
  for (size_t slash = mount_.size(); slash != std::string::npos;) {
    passControllersDown(root_.substr(0, slash));
    slash = root_.find('/', slash + 1);
    makeDirectory(root_.substr(0, slash));
  }
}

Cgroups::~Cgroups() {
  try {
    removeAll(std::nullopt);
    removeRoot();
  } catch (const Failure&) {
    return;
  }
}

bool Cgroups::removeRoot() {
  if (rmdir(root_.c_str()) != 0) return false;
  for (std::string up = parentOf(root_); up != mount_; up = parentOf(up)) {
    if (rmdir(up.c_str()) != 0) break;
  }
  return true;
}

void Cgroups::passControllersDown(const std::string& directory) {
  std::istringstream available(readFileIfThere(directory + "/cgroup.controllers").value_or(""));
  for (std::string controller; available >> controller;) {
    if (isOurs(controller)) writeValue(directory + "/cgroup.subtree_control", "+" + controller);
  }
}

void Cgroups::create(const std::string& path, uint32_t owner) {
  const std::string parent = parentOf(path);
  if (!parent.empty() && !exists(parent)) create(parent, owner);
  passControllersDown(directory(parent));
  makeDirectory(directory(path));
  groups_[path].owner = owner;  // who names a parent that was only implied owns it
}

void Cgroups::setCpus(const std::string& path, std::optional<std::vector<uint32_t>> cpus) {
  std::optional<std::vector<uint32_t>>& current = groups_.at(path).cpus;
  if (!cpus && !current) return;
  writeValue(directory(path) + "/cpuset.cpus", (cpus ? cpuList(*cpus) : std::string()) + "\n");
  current = std::move(cpus);
}

void Cgroups::swapCpus(const std::string& a, const std::string& b) {
  const auto ofA = groups_.at(a).cpus, ofB = groups_.at(b).cpus;
  setCpus(a, std::nullopt);
  setCpus(b, ofA);
  setCpus(a, ofB);
}

void Cgroups::setMems(const std::string& path, const std::vector<uint32_t>& nodes) {
  setLimit(path, "cpuset.mems", cpuList(nodes));
}

std::string Cgroups::value(const std::string& path, const std::string& file) const {
  const std::string content = readFileIfThere(directory(path) + "/" + file).value_or("?");
  return content.substr(0, content.find('\n'));
}

// `read`: what it reads back as, if otherwise than written.
void Cgroups::setLimit(const std::string& path, const char* file, const std::string& wanted,
                       const std::string& read) {
  writeValue(directory(path) + "/" + file, wanted + "\n");
  const std::string got = value(path, file);
  if (got == (read.empty() ? wanted : read)) return;
  throw Failure(FailureName::CGROUP_FAILED,
                text(directory(path), "/", file, ": \"", wanted, "\" reads back as \"", got, '"'));
}

void Cgroups::setLimits(const std::string& path, rpc::CgroupLimits::Reader limits) {
  const auto number = [](uint64_t value) {
    return value == rpc::UNLIMITED ? std::string("max") : text(value);
  };
  const auto set = [&](const char* file, uint64_t value) {
    if (value != 0) setLimit(path, file, number(value));
  };
  set("cpu.weight", limits.getCpuWeight());
  if (limits.getCpuQuotaUs() != 0) {
    setLimit(path, "cpu.max", text(number(limits.getCpuQuotaUs()), ' ', limits.getCpuPeriodUs()));
  }
  set("memory.max", limits.getMemoryMaxBytes());
  set("memory.high", limits.getMemoryHighBytes());
  set("memory.low", limits.getMemoryLowBytes());
  set("memory.swap.max", limits.getMemorySwapMaxBytes());
  if (limits.getIoWeight() != 0) {
    setLimit(path, "io.weight", text(limits.getIoWeight()), text("default ", limits.getIoWeight()));
  }
  set("pids.max", limits.getPidsMax());
}

Fd Cgroups::open(const std::string& path) const {
  return openFile(directory(path), O_PATH | O_DIRECTORY);
}

void Cgroups::addProcess(const std::string& path, pid_t pid) {
  writeValue(directory(path) + "/cgroup.procs", text(pid));
}

std::vector<pid_t> Cgroups::processes(const std::string& path) const {
  std::istringstream lines(readFileIfThere(directory(path) + "/cgroup.procs").value_or(""));
  return {std::istream_iterator<pid_t>(lines), {}};
}

void Cgroups::freeze(const std::string& path, bool wanted) {
  writeValue(directory(path) + "/cgroup.freeze", wanted ? "1" : "0");
  if (wanted)
    frozen_.insert(path);
  else
    frozen_.erase(path);
}

bool Cgroups::frozen(const std::string& path) const {
  const std::string events = readFileIfThere(directory(path) + "/cgroup.events").value_or("");
  return events.find("frozen 1") != std::string::npos;
}

void Cgroups::thaw(const std::string& path) {
  for (std::string up = path; !up.empty(); up = parentOf(up)) {
    if (frozen_.contains(up)) freeze(up, false);
  }
}

void Cgroups::thawAll() {
  while (!frozen_.empty()) freeze(std::string(*frozen_.begin()), false);
}

std::string Cgroups::leftIn(const std::string& path) const {
  std::string left;
  for (const pid_t pid : processes(path)) {
    const std::string comm = readFileIfThere(text("/proc/", pid, "/comm")).value_or("?");
    left += text(left.empty() ? "" : ", ", "pid ", pid, " (", comm.substr(0, comm.find('\n')), ')');
  }
  return left;
}

void Cgroups::remove(const std::string& path) {
  thaw(path);
  groups_.erase(path);
  if (!removeDirectory(directory(path))) {
    const std::string left = leftIn(path);
    writeValue(directory(path) + "/cgroup.kill", "1");
    const bool removed = removeDirectory(directory(path));
    throw Failure(FailureName::TEARDOWN_INCOMPLETE,
                  text("cgroup ", directory(path), " still had ", left.empty() ? "something in it" : left,
                       removed ? "; killed" : "; killed, and yet the cgroup is not empty"));
  }
  withdrawControllers(parentOf(path));
}

// The last child is gone: only a cgroup that passes no controllers down may have processes.
void Cgroups::withdrawControllers(const std::string& path) {
  const auto isChild = [&](const auto& each) { return each.first.starts_with(path + "/"); };
  if (path.empty() || std::any_of(groups_.begin(), groups_.end(), isChild)) return;
  std::istringstream passed(readFileIfThere(directory(path) + "/cgroup.subtree_control").value_or(""));
  for (std::string controller; passed >> controller;) {
    writeValue(directory(path) + "/cgroup.subtree_control", "-" + controller);
  }
}

void Cgroups::removeAll(std::optional<uint32_t> owner) {
  std::vector<std::string> paths;
  for (const auto& [path, group] : groups_) {
    if (!owner || group.owner == *owner) paths.push_back(path);
  }
  std::optional<Failure> first;
  for (; !paths.empty(); paths.pop_back()) {  // "a/b" sorts after "a"
    try {
      remove(paths.back());
    } catch (const Failure& failure) {
      if (!first) first = failure;
    }
  }
  if (first) throw Failure(*first);
}

void Cgroups::close() {
  std::string left;
  std::error_code none;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root_, none)) {
    if (entry.is_directory()) left += (left.empty() ? "" : ", ") + entry.path().string();
  }
  if (left.empty() && removeRoot()) return;
  if (left.empty()) left = withErrno("remove " + root_, errno);
  throw Failure(FailureName::TEARDOWN_INCOMPLETE, "cgroups are left: " + left);
}

std::optional<std::vector<uint32_t>> Cgroups::effectiveCpus(const std::string& path) const {
  for (std::string up = path; !up.empty(); up = parentOf(up)) {
    const auto found = groups_.find(up);
    if (found != groups_.end() && found->second.cpus) return found->second.cpus;
  }
  return std::nullopt;
}

}  // namespace ktstr::agent
