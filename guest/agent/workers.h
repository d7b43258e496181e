// The workers of a scenario, from fork to report.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guest/agent/cgroups.h"
#include "guest/agent/channel.h"
#include "guest/agent/worker_setup.h"
#include "guest/work/group.h"
#include "protocol/fd.h"
#include "protocol/scenario.capnp.h"

namespace ktstr::agent {

// How a child of PID 1 ended.
struct ChildExit {
  pid_t pid;
  int status;    // wait status
  rusage usage;  // all it used
};

// A WorkSpec and what is needed to start it. What the readers read must outlive its workers.
struct Assignment {
  rpc::WorkSpec::Reader spec;
  WorkerSettings settings;
  std::vector<std::vector<uint32_t>>
      affinities;  // worker i takes list i modulo their number; none: no affinity
  work::Surroundings surroundings = {};
};

struct Worker {
  uint32_t step = 0;   // that it was made in; or backdropStep
  uint32_t owner = 0;  // the step it ends with
  std::string cgroup;  // that it was made for
  std::string place;   // the cgroup it is in now
  std::string work;    // name of its work group
  uint32_t index = 0;  // within it
  std::shared_ptr<work::WorkGroup> group;
  std::shared_ptr<SetupNotes> setup;
  WorkerSettings settings;
  pid_t pid = -1;                 // of its process
  bool shared = false;            // it is a thread, one of several or not, of that process
  std::string function, program;  // of a custom one that the author's program does: its path in the guest
  std::optional<ChildExit> exit = {};
  uint64_t endedNs = 0;
  bool started = false;
  uint64_t toldNs = 0;                                 // when it was told to stop; 0: not yet
  std::optional<uint64_t> toldRunDelayNs = {};         // what it had waited for a CPU by then, in all
  bool stuck = false;                                  // did not; killed
  std::optional<std::vector<uint32_t>> affinity = {};  // asked for
  bool moves = false;                                  // its type changes where it may run, or may do so
  bool anywhere = true;                                // else: the CPUs it was allowed on, at any time
  std::vector<uint32_t> allowed = {};

  std::string name() const;  // "cgroup/work[index] (pid N)", a thread: "(tid N of process M)"
  work::WorkerPage& page() const { return group->page(index); }
  pid_t tid() const { return shared ? static_cast<pid_t>(page().tid.load(std::memory_order_acquire)) : pid; }
  bool finished() const { return page().finished.load(std::memory_order_acquire) != 0; }
};

// All workers of a scenario.
class Workers {
 public:
  using Choice = std::function<bool(const Worker&)>;

  // `baseline`: as their reports have it.
  Workers(Channel& channel, Cgroups& cgroups, bool baseline);
  ~Workers();  // kills what is left

  // Starts the workers, which wait for go(), and puts them in place: into `cgroup` unless it is empty, with
  // their settings. Each is a process; those of a spec whose cloneMode is thread are threads of one, and so
  // are all with the same pcomm. Throws Failure spawnFailed, workerSetupFailed or cgroupFailed.
  void spawn(uint32_t step, const std::string& cgroup, const std::vector<Assignment>& assignments);
  // Those that wait; returns how many.
  uint32_t go();
  // Kills and forgets those that have not been started: there is nothing to report of them.
  void abandon();

  const std::vector<Worker>& all() const { return workers_; }
  std::vector<pid_t> pids() const;

  // If the child is one of ours notes the end of all workers in it; posts failure workerCrashed, for the one
  // whose fault it was, unless they ended as they were told, or workerSetupFailed.
  bool ended(const ChildExit& child);
  // A worker could not set itself up: its step means nothing.
  bool broken() const { return broken_; }

  // Posts failure affinityChanged if somebody else has changed where one of them may run; tells them to stop;
  // whether all have ended; kills the rest and posts failure workerStuck for each; posts the reports of those
  // not reported yet and forgets them.
  void tellStop(const Choice& choice);
  bool allEnded(const Choice& choice) const;
  void killStuck(const Choice& choice);
  void report(const Choice& choice);

  // Those in the cgroup: another affinity (none: lifted), as in Assignment. Returns how many.
  uint32_t setAffinity(const std::string& cgroup, const std::vector<std::vector<uint32_t>>& affinities);
  // Moves those in a cgroup into another, to end with step `owner` if there is one. Returns how many.
  uint32_t move(const std::string& from, const std::string& to, std::optional<uint32_t> owner);

  // The cpusets have changed: notes where each worker may run from now on.
  void cpusetsChanged();

 private:
  std::vector<Worker> workersOf(uint32_t step, const std::string& cgroup, const Assignment& assignment) const;
  void startCrew(std::vector<Worker> crew, const std::string& processName);
  void place(Worker& worker);
  void applyAffinity(Worker& worker);
  std::optional<std::vector<uint32_t>> allowedNow(const Worker& worker) const;
  void checkAffinities(const Choice& choice);
  void noteRunDelays(const Choice& choice);

  Channel& channel_;
  Cgroups& cgroups_;
  bool baseline_;
  Fd start_;
  bool broken_ = false;
  std::vector<Worker> workers_;
};

// Fills a report from a worker's page and the way it ended.
void fillReport(const Worker& worker, uint32_t step, rpc::WorkerReport::Builder report);

}  // namespace ktstr::agent
