#include "guest/agent/workers.h"

#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "guest/scenario/validate.h"
#include "guest/scenario/work_types.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

using Cpus = std::vector<uint32_t>;

bool isIn(const Worker& worker, const std::optional<std::string>& cgroup) {
  return !cgroup || worker.cgroup == *cgroup;
}

Failure failureOf(const Worker& worker, FailureName name, const std::string& message, uint32_t step) {
  Failure failure(name, message);
  failure.step = step;
  failure.cgroup = worker.cgroup;
  failure.worker = text(worker.work, '[', worker.index, ']');
  return failure;
}

void allow(Worker& worker, const std::optional<Cpus>& cpus) {
  if (!cpus) worker.anywhere = true;
  if (worker.anywhere) return;
  Cpus both;
  std::set_union(cpus->begin(), cpus->end(), worker.allowed.begin(), worker.allowed.end(),
                 std::back_inserter(both));
  worker.allowed = std::move(both);
}

// Third field of /proc/PID/stat, and where in the kernel it waits.
std::string whereIs(pid_t pid) {
  const std::string stat = readFileIfThere(text("/proc/", pid, "/stat")).value_or("");
  const size_t name = stat.rfind(')');
  const std::string state =
      name != std::string::npos && name + 2 < stat.size() ? stat.substr(name + 2, 1) : "?";
  return text("state ", state, ", wchan ", readFileIfThere(text("/proc/", pid, "/wchan")).value_or("?"));
}

}  // namespace

std::string Worker::name() const {
  return text(cgroup, '/', work, '[', index, "] (pid ", pid, ')');
}

Workers::Workers(uint32_t step, Channel& channel, Cgroups& cgroups)
    : step_(step), channel_(channel), cgroups_(cgroups), start_(eventfd(0, EFD_CLOEXEC)) {
  if (!start_) throw Failure(FailureName::SPAWN_FAILED, withErrno("make the workers' eventfd", errno));
}

Workers::~Workers() {
  for (const Worker& worker : workers_) {
    if (!worker.exit) kill(worker.pid, SIGKILL);
  }
}

Worker Workers::spawnOne(const std::shared_ptr<work::WorkGroup>& group, uint32_t index) {
  Worker worker;
  worker.group = group;
  worker.index = index;
  worker.pid = fork();
  if (worker.pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    group->run(index, start_.get());
    _exit(0);
  }
  if (worker.pid < 0) throw Failure(FailureName::SPAWN_FAILED, withErrno("fork a worker", errno));
  return worker;
}

void Workers::place(Worker& worker, rpc::WorkSpec::Reader spec) {
  cgroups_.addProcess(worker.cgroup, worker.pid);
  const std::optional<Cpus> cpuset = cgroups_.effectiveCpus(worker.cgroup);
  worker.anywhere = !cpuset;
  worker.allowed = cpuset.value_or(Cpus());
  if (spec.getNice() != 0 && setpriority(PRIO_PROCESS, static_cast<id_t>(worker.pid), spec.getNice()) != 0) {
    throw failureOf(
        worker, FailureName::SPAWN_FAILED,
        withErrno(text("set nice ", static_cast<int>(spec.getNice()), " of ", worker.name()), errno), step_);
  }
  if (spec.getAffinity().size() == 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  worker.allowed = cpuNumbers(spec.getAffinity());
  worker.anywhere = false;
  std::sort(worker.allowed.begin(), worker.allowed.end());
  for (const uint32_t cpu : worker.allowed) CPU_SET(cpu, &set);
  if (sched_setaffinity(worker.pid, sizeof set, &set) != 0) {
    throw failureOf(worker, FailureName::SPAWN_FAILED,
                    withErrno(text("set affinity of ", worker.name()), errno), step_);
  }
}

void Workers::spawn(rpc::CgroupDef::Reader definition) {
  for (const auto& spec : definition.getWork()) {
    const auto group = std::make_shared<work::WorkGroup>(spec.getType(), spec.getWorkers());
    for (uint32_t index = 0; index < spec.getWorkers(); index++) {
      workers_.push_back(spawnOne(group, index));
      workers_.back().cgroup = definition.getName().cStr();
      workers_.back().work = workName(spec);
      place(workers_.back(), spec);
    }
  }
}

void Workers::go() {
  const uint64_t now = monotonicNs();
  for (const Worker& worker : workers_) worker.group->page(worker.index).goNs.store(now);
  eventfd_write(start_.get(), 1);
  started_ = true;
}

void Workers::abandon() {
  for (const Worker& worker : workers_) kill(worker.pid, SIGKILL);
  workers_.clear();
}

std::vector<pid_t> Workers::pids() const {
  std::vector<pid_t> result;
  for (const Worker& worker : workers_) result.push_back(worker.pid);
  return result;
}

bool Workers::ended(const ChildExit& child) {
  const auto found = std::find_if(workers_.begin(), workers_.end(), [&](const Worker& worker) {
    return worker.pid == child.pid && !worker.exit;
  });
  if (found == workers_.end()) return false;
  found->exit = child;
  found->endedNs = monotonicNs();
  const bool asTold = found->told && child.status == 0 && found->page().finished.load() != 0;
  if (asTold || found->stuck) return true;
  channel_.failure(failureOf(*found, FailureName::WORKER_CRASHED,
                             text(found->name(), " ended: ", describeWaitStatus(child.status), ", after ",
                                  found->page().iterations.load(), " iterations"),
                             step_));
  return true;
}

void Workers::tellStop(const std::optional<std::string>& cgroup) {
  for (Worker& worker : workers_) {
    if (!isIn(worker, cgroup)) continue;
    worker.told = true;
    worker.group->stop(worker.index);
  }
}

bool Workers::allEnded(const std::optional<std::string>& cgroup) const {
  return std::all_of(workers_.begin(), workers_.end(),
                     [&](const Worker& worker) { return !isIn(worker, cgroup) || worker.exit; });
}

void Workers::killStuck(const std::optional<std::string>& cgroup) {
  const uint64_t now = monotonicNs();
  for (Worker& worker : workers_) {
    if (!isIn(worker, cgroup) || worker.exit) continue;
    worker.stuck = true;
    worker.endedNs = now;
    const uint64_t last = std::max(worker.page().checkpointNs.load(), worker.page().goNs.load());
    channel_.failure(failureOf(
        worker, FailureName::WORKER_STUCK,
        text(worker.name(), " did not stop when told to: ", whereIs(worker.pid), ", last seen on CPU ",
             worker.page().lastCpu.load(), ' ', (now - std::min(now, last)) / 1'000'000, " ms ago"),
        step_));
    kill(worker.pid, SIGKILL);
  }
}

void Workers::report(const std::optional<std::string>& cgroup) {
  for (const Worker& worker : workers_) {
    if (!isIn(worker, cgroup)) continue;
    channel_.post([&](rpc::GuestEvent::Builder event) { fillReport(worker, step_, event.initWorker()); });
  }
  std::erase_if(workers_, [&](const Worker& worker) { return isIn(worker, cgroup); });
}

void Workers::cpusetsChanged() {
  for (Worker& worker : workers_) allow(worker, cgroups_.effectiveCpus(worker.cgroup));
}

}  // namespace ktstr::agent
