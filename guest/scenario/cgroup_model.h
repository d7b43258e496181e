// The cgroups of a scenario as the kernel will have them at one point of it: what validation walks through.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "guest/scenario/checks.h"
#include "guest/topology.h"

namespace ktstr {

// All throw Error "scenario-invalid" at `place` for what the kernel, or the rules of scenario.capnp, would
// refuse. `step` is who asks: a step's number or backdropStep. The path "" is the machine's root, which is
// always there.
class CgroupModel {
 public:
  explicit CgroupModel(const Topology& topology);

  void add(const std::string& place, const std::string& path, uint32_t step, bool withWork);
  void remove(const std::string& place, const std::string& path, uint32_t step);
  void require(const std::string& place, const std::string& path) const;
  // Its workers may be stopped by `step`: it is not another's.
  void requireOwn(const std::string& place, const std::string& path, uint32_t step) const;
  void setCpuset(const std::string& place, const std::string& path, std::optional<Cpus> cpus);
  void setMems(const std::string& place, const std::string& path, std::optional<std::vector<uint32_t>> nodes);
  std::optional<Cpus> cpuset(const std::string& path) const { return groups_.at(path).cpus; }
  // Where processes of `path` may run, and have their memory.
  Cpus cpus(const std::string& path) const;
  std::vector<uint32_t> mems(const std::string& path) const;

  // Tasks come into it: it must have no children.
  void addTasks(const std::string& place, const std::string& path, uint32_t step, uint32_t count);
  void endTask(const std::string& path, uint32_t step);
  void stop(const std::string& path);
  uint32_t ownerOf(const std::string& path) const { return groups_.at(path).owner; }
  void move(const std::string& place, const std::string& from, const std::string& to);
  uint32_t tasks(const std::string& path) const;
  uint32_t allTasks() const;

  void freeze(const std::string& path, bool frozen) { groups_.at(path).frozen = frozen; }
  bool frozen(const std::string& path) const;  // itself or above
  void thaw(const std::string& path);          // itself and all above

  // A step's end: its workers and cgroups go, everything thaws.
  void endStep(uint32_t step);

 private:
  struct Group {
    uint32_t owner = 0;
    bool implied = false;  // only there because a child is
    bool frozen = false;
    std::optional<Cpus> cpus = {};
    std::optional<std::vector<uint32_t>> mems = {};
    std::map<uint32_t, uint32_t> tasks = {};  // by the step they belong to
  };

  static void checkPath(const std::string& place, const std::string& path);
  void requireLeaf(const std::string& place, const std::string& path) const;
  static std::string parentOf(const std::string& path);

  std::map<std::string, Group> groups_;
};

}  // namespace ktstr
