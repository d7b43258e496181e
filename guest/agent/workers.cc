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
#include <utility>

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

// Third field of /proc/TID/stat, and where in the kernel it waits.
std::string whereIs(pid_t tid) {
  const std::string stat = readFileIfThere(text("/proc/", tid, "/stat")).value_or("");
  const size_t name = stat.rfind(')');
  const std::string state =
      name != std::string::npos && name + 2 < stat.size() ? stat.substr(name + 2, 1) : "?";
  return text("state ", state, ", wchan ", readFileIfThere(text("/proc/", tid, "/wchan")).value_or("?"));
}

bool endedAsTold(const Worker& worker) {
  return worker.told && worker.finished() && (worker.shared || worker.exit->status == 0);
}

// Whose fault the end of a process is: who got the signal, else the first who was still at work.
const Worker& culprit(const std::vector<const Worker*>& crew) {
  for (const Worker* worker : crew) {
    if (worker->page().crashSignal.load() != 0) return *worker;
  }
  for (const Worker* worker : crew) {
    if (!worker->finished()) return *worker;
  }
  return *crew.front();
}

constexpr uint64_t threadsBoundMs = 10000;

// The threads of a process exist as soon as each has written its tid.
void awaitThreads(const std::vector<Worker>& crew) {
  const uint64_t deadline = monotonicNs() + threadsBoundMs * 1'000'000;
  for (const Worker& worker : crew) {
    while (worker.page().tid.load(std::memory_order_acquire) == 0) {
      if (monotonicNs() > deadline) {
        throw Failure(FailureName::SPAWN_FAILED,
                      text("thread ", worker.index, " of process ", worker.pid, " did not begin within ",
                           threadsBoundMs, " ms: ", whereIs(worker.pid)));
      }
      usleep(1000);
    }
  }
}

}  // namespace

std::string Worker::name() const {
  return text(cgroup, '/', work, '[', index, "] (",
              shared ? text("tid ", tid(), " of process ", pid) : text("pid ", pid), ')');
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

pid_t Workers::forkCrew(const std::vector<Worker>& crew) {
  std::vector<work::Hand> hands;
  for (const Worker& worker : crew) hands.push_back({worker.group.get(), worker.index});
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    work::runCrew(hands, start_.get());
    _exit(0);
  }
  if (child < 0) throw Failure(FailureName::SPAWN_FAILED, withErrno("fork a worker", errno));
  return child;
}

// They are in workers_ as soon as their process exists, so that it ends whatever fails.
void Workers::startCrew(std::vector<Worker> crew, rpc::WorkSpec::Reader spec) {
  const pid_t pid = forkCrew(crew);
  for (Worker& worker : crew) {
    worker.pid = pid;
    worker.shared = crew.size() > 1;
  }
  const size_t first = workers_.size();
  workers_.insert(workers_.end(), crew.begin(), crew.end());
  cgroups_.addProcess(crew.front().cgroup, pid);
  if (crew.size() > 1) awaitThreads(crew);
  for (size_t i = first; i < workers_.size(); i++) place(workers_[i], spec);
}

void Workers::place(Worker& worker, rpc::WorkSpec::Reader spec) {
  const std::optional<Cpus> cpuset = cgroups_.effectiveCpus(worker.cgroup);
  worker.anywhere = !cpuset;
  worker.allowed = cpuset.value_or(Cpus());
  if (spec.getNice() != 0 &&
      setpriority(PRIO_PROCESS, static_cast<id_t>(worker.tid()), spec.getNice()) != 0) {
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
  if (sched_setaffinity(worker.tid(), sizeof set, &set) != 0) {
    throw failureOf(worker, FailureName::SPAWN_FAILED,
                    withErrno(text("set affinity of ", worker.name()), errno), step_);
  }
}

std::shared_ptr<work::WorkGroup> Workers::makeGroup(const std::string& cgroup, rpc::WorkSpec::Reader spec) {
  work::Surroundings surroundings;
  const uint32_t siblings = spec.getType().isCgroupChurn() ? spec.getType().getCgroupChurn().getGroups() : 0;
  for (uint32_t i = 0; i < siblings; i++) {
    const std::string path = text(cgroup, "-churn-", i);
    cgroups_.create(path);
    cgroups_.setCpus(path, cgroups_.effectiveCpus(cgroup));
    surroundings.churnCgroups.push_back(cgroups_.procsFile(path));
  }
  try {
    return std::make_shared<work::WorkGroup>(spec.getType(), spec.getWorkers(), std::move(surroundings));
  } catch (const Error& error) {
    Failure failure(FailureName::SPAWN_FAILED, text(cgroup, '/', workName(spec), ": ", error.what()));
    failure.step = step_;
    failure.cgroup = cgroup;
    failure.worker = workName(spec);
    throw failure;
  }
}

void Workers::spawn(rpc::CgroupDef::Reader definition) {
  const std::string cgroup = definition.getName().cStr();
  for (const auto& spec : definition.getWork()) {
    const auto group = makeGroup(cgroup, spec);
    const bool together = spec.getCloneMode() == rpc::CloneMode::THREAD;
    std::vector<Worker> crew;
    for (uint32_t index = 0; index < spec.getWorkers(); index++) {
      Worker& worker = crew.emplace_back();
      worker.cgroup = cgroup;
      worker.work = workName(spec);
      worker.index = index;
      worker.group = group;
      if (!together) startCrew(std::exchange(crew, {}), spec);
    }
    if (together) startCrew(std::move(crew), spec);
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
  std::vector<const Worker*> crew;
  for (Worker& worker : workers_) {
    if (worker.pid != child.pid || worker.exit) continue;
    worker.exit = child;
    worker.endedNs = monotonicNs();
    crew.push_back(&worker);
  }
  if (crew.empty()) return false;
  const auto explained = [](const Worker* worker) { return worker->stuck || endedAsTold(*worker); };
  if (std::all_of(crew.begin(), crew.end(), explained)) return true;
  const Worker& guilty = culprit(crew);
  channel_.failure(failureOf(
      guilty, FailureName::WORKER_CRASHED,
      text(guilty.name(), " ended: ", describeWaitStatus(child.status), ", after ",
           guilty.page().iterations.load(), " iterations",
           crew.size() > 1 ? text(", and with it its process of ", crew.size(), " workers") : std::string()),
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
    if (!isIn(worker, cgroup) || worker.exit || (worker.shared && worker.finished())) continue;
    worker.stuck = true;
    worker.endedNs = now;
    const uint64_t last = std::max(worker.page().checkpointNs.load(), worker.page().goNs.load());
    channel_.failure(failureOf(
        worker, FailureName::WORKER_STUCK,
        text(worker.name(), " did not stop when told to: ", whereIs(worker.tid()), ", last seen on CPU ",
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
