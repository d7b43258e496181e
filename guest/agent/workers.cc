#include "guest/agent/workers.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <map>
#include <numeric>
#include <utility>

#include "guest/agent/progress.h"
#include "guest/agent/worker_process.h"
#include "guest/scenario/programs.h"
#include "guest/scenario/work_types.h"
#include "guest/work/schedstat.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

using Cpus = std::vector<uint32_t>;

// Those of our machines are numbered without holes.
Cpus allCpus() {
  Cpus cpus(static_cast<size_t>(get_nprocs_conf()));
  std::iota(cpus.begin(), cpus.end(), 0);
  return cpus;
}

// A worker that has never been restricted stays `anywhere`; what others may use adds up.
void allow(Worker& worker, const std::optional<Cpus>& cpus) {
  if (worker.anywhere) return;
  const Cpus now = cpus.value_or(allCpus());
  Cpus both;
  std::set_union(now.begin(), now.end(), worker.allowed.begin(), worker.allowed.end(),
                 std::back_inserter(both));
  worker.allowed = std::move(both);
}

Fd makeStart() {
  Fd start(eventfd(0, EFD_CLOEXEC));
  if (!start) throw Failure(FailureName::SPAWN_FAILED, withErrno("make the workers' eventfd", errno));
  return start;
}

bool endedAsTold(const Worker& worker) {
  return worker.toldNs != 0 && worker.finished() && (worker.shared || worker.exit->status == 0);
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

// A worker on which something fails may be gone because it could not set itself up.
Failure explained(const Worker& worker, const Failure& failure) {
  if (const auto why = worker.setup->read(worker.index)) {
    return failureOf(worker, FailureName::WORKER_SETUP_FAILED, worker.name() + ": " + *why);
  }
  return failureOf(worker, failure.name, failure.message);
}

}  // namespace

std::string Worker::name() const {
  return text(cgroup, '/', work, '[', index, "] (",
              shared ? text("tid ", tid(), " of process ", pid) : text("pid ", pid), ')');
}

Workers::Workers(Channel& channel, Cgroups& cgroups, bool baseline)
    : channel_(channel), cgroups_(cgroups), baseline_(baseline), start_(makeStart()) {}

Workers::~Workers() {
  for (const Worker& worker : workers_) {
    if (!worker.exit) kill(worker.pid, SIGKILL);
  }
}

// ---- starting

std::vector<Worker> Workers::workersOf(uint32_t step, const std::string& cgroup,
                                       const Assignment& assignment) const {
  const rpc::WorkSpec::Reader spec = assignment.spec;
  Worker one;
  one.step = one.owner = step;
  one.cgroup = one.place = cgroup;
  one.work = workName(spec);
  one.settings = assignment.settings;
  const auto type = spec.getType();
  one.moves =
      type.isAffinityChurn() || type.isNumaMigrationChurn() || type.isCgroupChurn() || type.isCustom();
  try {
    one.group = std::make_shared<work::WorkGroup>(type, spec.getWorkers(), assignment.surroundings);
  } catch (const Error& error) {
    throw failureOf(one, FailureName::SPAWN_FAILED, text(cgroup, '/', one.work, ": ", error.what()));
  }
  if (spec.getType().isCustom() && spec.getType().getCustom().getProgram().size() > 0) {
    one.function = spec.getType().getCustom().getName().cStr();
    one.program = guestProgram(spec.getType().getCustom().getProgram().cStr());
  }
  one.setup = std::make_shared<SetupNotes>(spec.getWorkers());
  std::vector<Worker> workers(spec.getWorkers(), one);
  for (uint32_t index = 0; index < workers.size(); index++) {
    workers[index].index = index;
    const auto& affinities = assignment.affinities;
    if (!affinities.empty()) workers[index].affinity = affinities[index % affinities.size()];
  }
  return workers;
}

void Workers::spawn(uint32_t step, const std::string& cgroup, const std::vector<Assignment>& assignments) {
  std::map<std::string, std::vector<Worker>> processes;  // by pcomm
  for (const Assignment& assignment : assignments) {
    std::vector<Worker> workers = workersOf(step, cgroup, assignment);
    const bool threads = assignment.spec.getCloneMode() == rpc::CloneMode::THREAD;
    for (Worker& worker : workers) worker.shared = threads || !assignment.settings.pcomm.empty();
    if (!assignment.settings.pcomm.empty()) {
      auto& process = processes[assignment.settings.pcomm];
      std::move(workers.begin(), workers.end(), std::back_inserter(process));
    } else if (threads) {
      startCrew(std::move(workers), "");
    } else {
      for (Worker& worker : workers) startCrew({std::move(worker)}, "");
    }
  }
  for (auto& [name, crew] : processes) startCrew(std::move(crew), name);
}

// They are in workers_ as soon as their process exists, so that it ends whatever fails.
void Workers::startCrew(std::vector<Worker> crew, const std::string& processName) {
  const std::string& cgroup = crew.front().cgroup;
  const Fd directory = cgroup.empty() ? Fd() : cgroups_.open(cgroup);
  const auto [pid, inCgroup] = forkCrew(crew, processName, start_.get(), directory ? directory.get() : -1);
  for (Worker& worker : crew) worker.pid = pid;
  const size_t first = workers_.size();
  workers_.insert(workers_.end(), crew.begin(), crew.end());
  try {
    if (!cgroup.empty() && !inCgroup) cgroups_.addProcess(cgroup, pid);
  } catch (const Failure& failure) {
    throw explained(crew.front(), failure);
  }
  if (crew.front().shared || !crew.front().program.empty()) awaitThreads(crew);
  for (size_t i = first; i < workers_.size(); i++) place(workers_[i]);
}

void Workers::place(Worker& worker) {
  worker.anywhere = !allowedNow(worker);
  allow(worker, allowedNow(worker));
  try {
    setPolicy(worker.tid(), worker.settings, worker.name());
    applyAffinity(worker);
  } catch (const Failure& failure) {
    throw explained(worker, failure);
  }
}

uint32_t Workers::go() {
  const uint64_t now = monotonicNs();
  uint32_t count = 0;
  for (Worker& worker : workers_) {
    if (worker.started) continue;
    worker.page().goNs.store(now);
    worker.started = true;
    count++;
  }
  eventfd_write(start_.get(), 1);
  start_ = makeStart();  // those that come later wait for theirs
  return count;
}

void Workers::abandon() {
  for (const Worker& worker : workers_) {
    if (!worker.started && !worker.exit) kill(worker.pid, SIGKILL);
  }
  std::erase_if(workers_, [](const Worker& worker) { return !worker.started; });
}

// ---- where they may run

// The affinity cut by the cpuset; the cpuset alone where nothing is left, as the kernel does. Nothing:
// anywhere.
std::optional<Cpus> Workers::allowedNow(const Worker& worker) const {
  std::optional<Cpus> cpuset = cgroups_.effectiveCpus(worker.place);
  if (!worker.affinity) return cpuset;
  if (!cpuset) return worker.affinity;
  Cpus both;
  std::set_intersection(cpuset->begin(), cpuset->end(), worker.affinity->begin(), worker.affinity->end(),
                        std::back_inserter(both));
  return both.empty() ? cpuset : both;
}

void Workers::applyAffinity(Worker& worker) {
  if (worker.affinity)
    ktstr::agent::setAffinity(worker.tid(), *worker.affinity, *allowedNow(worker), worker.name());
}

uint32_t Workers::setAffinity(const std::string& cgroup, const std::vector<Cpus>& affinities) {
  uint32_t count = 0;
  for (Worker& worker : workers_) {
    if (worker.place != cgroup || worker.exit) continue;
    try {
      if (affinities.empty()) {
        liftAffinity(worker.tid(), worker.name());
        worker.affinity.reset();
      } else {
        worker.affinity = affinities[count % affinities.size()];
        applyAffinity(worker);
      }
    } catch (const Failure& failure) {
      throw failureOf(worker, failure.name, failure.message);
    }
    allow(worker, allowedNow(worker));
    count++;
  }
  return count;
}

uint32_t Workers::move(const std::string& from, const std::string& to, std::optional<uint32_t> owner) {
  uint32_t count = 0;
  for (Worker& worker : workers_) {
    if (worker.place != from || worker.exit) continue;
    cgroups_.addProcess(to, worker.pid);
    worker.place = to;
    worker.owner = owner.value_or(worker.owner);
    allow(worker, allowedNow(worker));
    count++;
  }
  return count;
}

void Workers::cpusetsChanged() {
  for (Worker& worker : workers_) allow(worker, allowedNow(worker));
}

// ---- their end

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
  for (const Worker* worker : crew) {
    const auto why = worker->setup->read(worker->index);
    if (!why) continue;
    channel_.failure(failureOf(*worker, FailureName::WORKER_SETUP_FAILED, worker->name() + ": " + *why));
    broken_ = true;  // none of them ever worked: there is nothing to report
    std::erase_if(workers_, [&](const Worker& other) { return other.pid == child.pid; });
    return true;
  }
  const auto explained = [](const Worker* worker) { return worker->stuck || endedAsTold(*worker); };
  if (std::all_of(crew.begin(), crew.end(), explained)) return true;
  const Worker& guilty = culprit(crew);
  channel_.failure(
      failureOf(guilty, FailureName::WORKER_CRASHED,
                text(guilty.name(), " ended: ", describeWaitStatus(child.status), ", after ",
                     guilty.page().iterations.load(), " iterations",
                     crew.size() > 1 ? text(", and with it its process of ", crew.size(), " workers")
                                     : std::string())));
  return true;
}

// One failure names the first of them: whoever did it to one may have done it to all.
void Workers::checkAffinities(const Choice& choice) {
  const Worker* first = nullptr;
  std::string what;
  size_t others = 0;
  for (const Worker& worker : workers_) {
    if (!choice(worker) || !worker.started || worker.exit || worker.moves) continue;
    const Cpus expected = allowedNow(worker).value_or(allCpus());
    const auto now = otherAffinity(worker.tid(), expected);
    if (!now) continue;
    others += first != nullptr ? 1 : 0;
    if (first != nullptr) continue;
    first = &worker;
    what = text(worker.name(), " may run on CPUs ", cpuList(*now), ", and was set to ", cpuList(expected));
  }
  if (first == nullptr) return;
  if (others > 0) what += text("; so it is with ", others, " more workers");
  channel_.failure(failureOf(*first, FailureName::AFFINITY_CHANGED, what));
}

// Before the first is told, as reading takes its time.
void Workers::noteRunDelays(const Choice& choice) {
  if (workers_.size() > maxTimedWorkers) return;
  for (Worker& worker : workers_) {
    if (!choice(worker) || worker.toldNs != 0 || worker.exit || worker.tid() <= 0) continue;
    if (const auto times = work::schedstatOf(worker.tid())) worker.toldRunDelayNs = times->runDelayNs;
  }
}

void Workers::tellStop(const Choice& choice) {
  checkAffinities(choice);
  noteRunDelays(choice);
  for (Worker& worker : workers_) {
    if (!choice(worker)) continue;
    if (worker.toldNs == 0) worker.toldNs = monotonicNs();
    worker.group->stop(worker.index);
  }
}

bool Workers::allEnded(const Choice& choice) const {
  return std::all_of(workers_.begin(), workers_.end(),
                     [&](const Worker& worker) { return !choice(worker) || worker.exit; });
}

void Workers::killStuck(const Choice& choice) {
  const uint64_t now = monotonicNs();
  for (Worker& worker : workers_) {
    if (!choice(worker) || worker.exit || (worker.shared && worker.finished())) continue;
    worker.stuck = true;
    worker.endedNs = now;
    const uint64_t last = std::max(worker.page().checkpointNs.load(), worker.page().goNs.load());
    channel_.failure(failureOf(
        worker, FailureName::WORKER_STUCK,
        text(worker.name(), " did not stop when told to: ", whereIs(worker.tid()), ", last seen on CPU ",
             worker.page().lastCpu.load(), ' ', (now - std::min(now, last)) / 1'000'000, " ms ago")));
    kill(worker.pid, SIGKILL);
  }
}

void Workers::report(const Choice& choice) {
  for (const Worker& worker : workers_) {
    if (!choice(worker)) continue;
    channel_.post([&](rpc::GuestEvent::Builder event) {
      fillReport(worker, worker.step, event.initWorker());
      event.getWorker().setBaseline(baseline_);
    });
  }
  std::erase_if(workers_, choice);
}

}  // namespace ktstr::agent
