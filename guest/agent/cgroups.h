// The scenario's cgroups: a tree of cgroup v2 directories below one root.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "protocol/fd.h"
#include "protocol/scenario.capnp.h"

namespace ktstr::agent {

// All failures are thrown as Failure cgroupFailed with path and errno.
class Cgroups {
 public:
  // `mount` is where cgroup2 is mounted; everything happens in `name` below it, which is made here with what
  // is above it, and the controllers cpuset, cpu, memory, io and pids as far as the kernel has them.
  explicit Cgroups(std::string mount = "/sys/fs/cgroup", const std::string& name = "ktstr");
  ~Cgroups();  // removes what is left

  // Makes the cgroup, and its parents where they are missing, with their controllers passed down; they end
  // with step `owner`.
  void create(const std::string& path, uint32_t owner);
  bool exists(const std::string& path) const { return groups_.contains(path); }
  uint32_t ownerOf(const std::string& path) const { return groups_.at(path).owner; }
  // Nothing: inherit.
  void setCpus(const std::string& path, std::optional<std::vector<uint32_t>> cpus);
  void swapCpus(const std::string& a, const std::string& b);
  void setMems(const std::string& path, const std::vector<uint32_t>& nodes);
  // Each value is read back: Failure cgroupFailed if the kernel has another.
  void setLimits(const std::string& path, rpc::CgroupLimits::Reader limits);
  // Its directory, O_PATH.
  Fd open(const std::string& path) const;
  void addProcess(const std::string& path, pid_t pid);
  // The file by which processes move there themselves.
  std::string procsFile(const std::string& path) const { return directory(path) + "/cgroup.procs"; }
  std::vector<pid_t> processes(const std::string& path) const;
  // Begins to freeze or thaw; frozen() is what the kernel has come to.
  void freeze(const std::string& path, bool wanted);
  bool frozen(const std::string& path) const;
  // Thaws it and all above, or everything.
  void thaw(const std::string& path);
  void thawAll();
  // The cgroup itself; it must be empty. Waits up to 1 s for ended processes to leave it. What is left then
  // is named in Failure teardownIncomplete, killed, and removed all the same.
  void remove(const std::string& path);
  // Everything of a step, or everything, children first. What cannot be removed does not keep the rest; its
  // Failure is thrown at the end.
  void removeAll(std::optional<uint32_t> owner);
  // At the end: removes the root, and what is above it unless others use it. Failure teardownIncomplete names
  // cgroups that somebody else made in it.
  void close();

  std::string directory(const std::string& path) const { return path.empty() ? root_ : root_ + "/" + path; }
  // First line of a file of the cgroup; "?" if it cannot be read.
  std::string value(const std::string& path, const std::string& file) const;

  // Where processes in `path` may run: its own cpuset or the nearest ancestor's; nothing: anywhere.
  std::optional<std::vector<uint32_t>> effectiveCpus(const std::string& path) const;

 private:
  struct Group {
    uint32_t owner;
    std::optional<std::vector<uint32_t>> cpus = {};
  };
  bool removeRoot();
  void passControllersDown(const std::string& directory);
  void withdrawControllers(const std::string& path);
  void setLimit(const std::string& path, const char* file, const std::string& value,
                const std::string& read = {});
  std::string leftIn(const std::string& path) const;

  std::string mount_, root_;
  std::set<std::string> frozen_;
  std::map<std::string, Group> groups_;  // by path; all there are
};

}  // namespace ktstr::agent
