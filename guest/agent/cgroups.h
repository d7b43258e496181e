// The scenario's cgroups: a tree of cgroup v2 directories below one root.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ktstr::agent {

// All failures are thrown as Failure cgroupFailed with path and errno.
class Cgroups {
 public:
  // `mount` is where cgroup2 is mounted; everything happens in its child `name`, which is made here with the
  // controllers cpuset, cpu, memory and pids as far as the kernel has them.
  explicit Cgroups(std::string mount = "/sys/fs/cgroup", const std::string& name = "ktstr");
  ~Cgroups();  // removes what is left

  // Makes the cgroup, and its parents where they are missing, with their controllers passed down.
  void create(const std::string& path);
  bool exists(const std::string& path) const { return cpusets_.contains(path); }
  // Nothing: inherit.
  void setCpus(const std::string& path, std::optional<std::vector<uint32_t>> cpus);
  void setWeight(const std::string& path, uint32_t weight);
  void addProcess(const std::string& path, pid_t pid);
  // The file by which processes move there themselves.
  std::string procsFile(const std::string& path) const { return directory(path) + "/cgroup.procs"; }
  // The cgroup itself; it must be empty. Waits up to 1 s for ended processes to leave it.
  void remove(const std::string& path);
  // Everything that was made, children first.
  void removeAll();

  // Where processes in `path` may run: its own cpuset or the nearest ancestor's; nothing: anywhere.
  std::optional<std::vector<uint32_t>> effectiveCpus(const std::string& path) const;

 private:
  std::string directory(const std::string& path) const { return path.empty() ? root_ : root_ + "/" + path; }
  void passControllersDown(const std::string& directory);

  std::string mount_, root_;
  std::map<std::string, std::optional<std::vector<uint32_t>>> cpusets_;  // by path; all cgroups there are
};

}  // namespace ktstr::agent
