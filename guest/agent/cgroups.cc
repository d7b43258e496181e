#include "guest/agent/cgroups.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include "guest/agent/failure.h"
#include "guest/topology.h"
#include "protocol/fd.h"
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

std::string parentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

}  // namespace

Cgroups::Cgroups(std::string mount, const std::string& name)
    : mount_(std::move(mount)), root_(mount_ + "/" + name) {
  passControllersDown(mount_);
  makeDirectory(root_);
}

Cgroups::~Cgroups() {
  try {
    removeAll();
  } catch (const Failure&) {
    return;
  }
  rmdir(root_.c_str());
}

void Cgroups::passControllersDown(const std::string& directory) {
  std::istringstream available(readFileIfThere(directory + "/cgroup.controllers").value_or(""));
  for (std::string controller; available >> controller;) {
    if (controller == "cpuset" || controller == "cpu" || controller == "memory" || controller == "pids") {
      writeValue(directory + "/cgroup.subtree_control", "+" + controller);
    }
  }
}

void Cgroups::create(const std::string& path) {
  const std::string parent = parentOf(path);
  if (!parent.empty() && !exists(parent)) create(parent);
  passControllersDown(directory(parent));
  makeDirectory(directory(path));
  cpusets_.try_emplace(path);
}

void Cgroups::setCpus(const std::string& path, std::optional<std::vector<uint32_t>> cpus) {
  if (!cpus && !cpusets_[path]) return;
  writeValue(directory(path) + "/cpuset.cpus", (cpus ? cpuList(*cpus) : std::string()) + "\n");
  cpusets_[path] = std::move(cpus);
}

void Cgroups::setWeight(const std::string& path, uint32_t weight) {
  writeValue(directory(path) + "/cpu.weight", text(weight));
}

void Cgroups::addProcess(const std::string& path, pid_t pid) {
  writeValue(directory(path) + "/cgroup.procs", text(pid));
}

void Cgroups::remove(const std::string& path) {
  // A process leaves its cgroup a moment after it was reaped.
  const uint64_t deadline = monotonicNs() + 1'000'000'000;
  while (rmdir(directory(path).c_str()) != 0) {
    if (errno == EBUSY && monotonicNs() < deadline) {
      usleep(1000);
      continue;
    }
    throw Failure(FailureName::CGROUP_FAILED, withErrno("remove cgroup " + directory(path), errno));
  }
  cpusets_.erase(path);
}

void Cgroups::removeAll() {
  while (!cpusets_.empty()) remove(std::string(cpusets_.rbegin()->first));  // "a/b" sorts after "a"
}

std::optional<std::vector<uint32_t>> Cgroups::effectiveCpus(const std::string& path) const {
  for (std::string up = path; !up.empty(); up = parentOf(up)) {
    const auto found = cpusets_.find(up);
    if (found != cpusets_.end() && found->second) return found->second;
  }
  return std::nullopt;
}

}  // namespace ktstr::agent
