// The workers of one step, processes and threads, from fork to report.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guest/agent/cgroups.h"
#include "guest/agent/channel.h"
#include "guest/work/crew.h"
#include "protocol/fd.h"
#include "protocol/scenario.capnp.h"

namespace ktstr::agent {

// How a child of PID 1 ended.
struct ChildExit {
  pid_t pid;
  int status;    // wait status
  rusage usage;  // all it used
};

struct Worker {
  std::string cgroup;
  std::string work;    // name of its work group
  uint32_t index = 0;  // within it
  std::shared_ptr<work::WorkGroup> group;
  pid_t pid = -1;       // of its process
  bool shared = false;  // others are threads of the same process
  std::optional<ChildExit> exit;
  uint64_t endedNs = 0;
  bool told = false;     // to stop
  bool stuck = false;    // did not; killed
  bool anywhere = true;  // else: the CPUs it was allowed on, at any time
  std::vector<uint32_t> allowed;

  std::string name() const;  // "cgroup/work[index] (pid N)", a thread: "(tid N of process M)"
  work::WorkerPage& page() const { return group->page(index); }
  pid_t tid() const { return shared ? static_cast<pid_t>(page().tid.load()) : pid; }
  bool finished() const { return page().finished.load(std::memory_order_acquire) != 0; }
};

class Workers {
 public:
  Workers(uint32_t step, Channel& channel, Cgroups& cgroups);
  ~Workers();  // kills what is left

  // Forks the workers of a cgroup, which wait for go(), and puts them in place: a process each, or one for
  // all of a WorkSpec where its cloneMode is thread. Makes the cgroups that cgroupChurn moves to. Throws
  // Failure spawnFailed or cgroupFailed. `definition` must outlive this.
  void spawn(rpc::CgroupDef::Reader definition);
  void go();
  bool started() const { return started_; }
  // Kills and forgets those that have not been started: there is nothing to report of them.
  void abandon();

  const std::vector<Worker>& all() const { return workers_; }
  std::vector<pid_t> pids() const;

  // If the child is one of ours notes the end of all workers in it; posts failure workerCrashed, for the one
  // whose fault it was, unless they ended as they were told.
  bool ended(const ChildExit& child);

  // Those of one cgroup, or of all (nothing): tells them to stop; whether all have ended; kills the rest and
  // posts failure workerStuck for each; posts the reports of those not reported yet and forgets them.
  void tellStop(const std::optional<std::string>& cgroup);
  bool allEnded(const std::optional<std::string>& cgroup) const;
  void killStuck(const std::optional<std::string>& cgroup);
  void report(const std::optional<std::string>& cgroup);

  // The cpusets have changed: notes where each worker may run from now on.
  void cpusetsChanged();

 private:
  std::shared_ptr<work::WorkGroup> makeGroup(const std::string& cgroup, rpc::WorkSpec::Reader spec);
  void startCrew(std::vector<Worker> crew, rpc::WorkSpec::Reader spec);
  pid_t forkCrew(const std::vector<Worker>& crew);
  void place(Worker& worker, rpc::WorkSpec::Reader spec);

  uint32_t step_;
  Channel& channel_;
  Cgroups& cgroups_;
  Fd start_;
  bool started_ = false;
  std::vector<Worker> workers_;
};

// Fills a report from a worker's page and the way it ended.
void fillReport(const Worker& worker, uint32_t step, rpc::WorkerReport::Builder report);

}  // namespace ktstr::agent
