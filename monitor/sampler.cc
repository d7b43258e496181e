#include "monitor/sampler.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr unsigned tries = 3;
constexpr uint32_t maxTasks = 4'194'304;  // PID_MAX_LIMIT
constexpr size_t maxOpsName = 128;        // SCX_OPS_NAME_LEN

// TIF_NEED_RESCHED of an idle task on x86, in thread_info.flags: bit 3, or 4 with the generic TIF bits
// (include/asm-generic/thread_info_tif.h). They are macros, so BTF does not tell; what else these bits have
// been (TIF_SINGLESTEP or TIF_NEED_RESCHED_LAZY with the old ones, TIF_MEMDIE with the new) an idle task has
// none of.
constexpr uint64_t needResched = uint64_t{1} << 3 | uint64_t{1} << 4;

// Guest bytes up to the first NUL as text that any terminal and JSON bears: other bytes than printable ASCII
// become '?'.
void sanitise(char* text, size_t size) {
  for (size_t i = 0; i < size && text[i] != 0; ++i) {
    if (text[i] < ' ' || text[i] > '~') text[i] = '?';
  }
}

}  // namespace

Sampler::Sampler(const Attachment& attachment)
    : kernel_(*attachment.kernel),
      layout_(attachment.analysis->layout()),
      absent_(layout_.absent()),
      groups_(layout_),
      domains_(kernel_, layout_),
      events_(attachment),
      programs_(kernel_, layout_) {
  pid_ = layout_.member("task_struct.pid");
  comm_ = layout_.member("task_struct.comm");
  flags_ = layout_.member("task_struct.thread_info.flags");
  opsName_ = layout_.member("scx_sched.ops.name");
  jiffies_ = word("jiffies_64", 8);
  scxState_ = word("scx_enable_state_var", 4);
  scxRoot_ = word("scx_root", 8);
  for (const auto& [name, state] : {std::pair{"enabling", rpc::ScxState::ENABLING},
                                    {"enabled", rpc::ScxState::ENABLED},
                                    {"disabling", rpc::ScxState::DISABLING},
                                    {"disabled", rpc::ScxState::DISABLED}}) {
    const auto value = layout_.constant(text("scx_enable_state.", name));
    if (value) states_.emplace_back(*value, state);
  }
  for (const auto& list : {groups_.absent(), domains_.absent()})
    absent_.insert(absent_.end(), list.begin(), list.end());
  for (const auto& reason : {events_.absent(), programs_.absent()}) {
    if (!reason.empty()) absent_.push_back(reason);
  }
  for (const uint32_t cpu : kernel_.possibleCpus()) cpus_.emplace_back().cpu = cpu;
}

const std::byte* Sampler::word(const char* symbol, uint64_t size) {
  const auto va = kernel_.symbol(symbol);
  const auto* const at = va ? kernel_.at(*va, size) : nullptr;
  if (!at) absent_.push_back(text(symbol, va ? ": not mapped" : ": no such symbol"));
  return at;
}

void Sampler::locate(Runqueue& rq) const {
  const auto runqueues = kernel_.symbol("runqueues");
  const auto base = runqueues ? kernel_.perCpu(*runqueues, rq.cpu) : std::nullopt;
  if (!base) return;
  const auto field = [&](const char* name, uint32_t size) -> const std::byte* {
    const auto member = layout_.member(name);
    return member && member->size == size ? kernel_.at(*base + member->offset, size) : nullptr;
  };
  rq.nrRunning = field("rq.nr_running", 4);
  rq.clock = field("rq.clock", 8);
  rq.curr = field("rq.curr", 8);
  rq.cpuNumber = field("rq.cpu", 4);
  rq.scxNrRunning = field("rq.scx.nr_running", 4);
  rq.scxFlags = field("rq.scx.flags", 4);
  rq.localDsqNr = field("rq.scx.local_dsq.nr", 4);
  rq.domain = field("rq.sd", 8);
  rq.groups = groups_.locate(kernel_, *base);
  // kernel/smp.c: wake-ups of remote tasks and kicks of the load balancer, too.
  const auto queue = kernel_.symbol("call_single_queue");
  const auto calls = queue ? kernel_.perCpu(*queue, rq.cpu) : std::nullopt;
  if (calls) rq.calls = kernel_.at(*calls, 8);
  rq.known = rq.nrRunning && rq.clock && rq.curr && rq.cpuNumber;
}

void Sampler::sample(rpc::Sample::Builder out) {
  if (jiffies_) out.setJiffies(loadGuest<uint64_t>(jiffies_));
  auto list = out.initCpus(static_cast<unsigned>(cpus_.size()));
  bool whole = true;
  for (unsigned i = 0; i < cpus_.size(); ++i) whole &= sampleCpu(i, list[i]);
  if (!whole) out.setIncomplete(text("domains: there are more than ", SchedDomains::maxDomains));
  sampleScx(out.initScx());
  if (out.getScx().getState() == rpc::ScxState::DISABLED) return;
  sampleEvents(out);
  programs_.sample(out);
}

bool Sampler::sampleCpu(size_t which, rpc::CpuSample::Builder out) {
  Runqueue& rq = cpus_[which];
  out.setCpu(rq.cpu);
  if (!rq.known) locate(rq);
  if (!rq.known || loadGuest<uint32_t>(rq.cpuNumber) != rq.cpu) return true;
  bool whole = false;
  RunqueueGroups::Values groups;
  for (unsigned i = 0; i < tries && !whole; ++i) whole = sampleOnce(rq, groups, out);
  out.setTorn(!whole);
  RunqueueGroups::write(groups, maxTasks, out);
  return !rq.domain || domains_.sample(which, loadGuest<uint64_t>(rq.domain), out);
}

bool Sampler::sampleOnce(const Runqueue& rq, RunqueueGroups::Values& groups,
                         rpc::CpuSample::Builder out) const {
  const auto clock = loadGuest<uint64_t>(rq.clock);
  const auto curr = loadGuest<uint64_t>(rq.curr);
  const auto nrRunning = loadGuest<uint32_t>(rq.nrRunning);
  const auto task = readTask(curr);
  const bool hasScx = rq.scxNrRunning && rq.scxFlags && rq.localDsqNr;
  const uint32_t scxNrRunning = hasScx ? loadGuest<uint32_t>(rq.scxNrRunning) : 0;
  const uint32_t scxFlags = hasScx ? loadGuest<uint32_t>(rq.scxFlags) : 0;
  const uint32_t depth = hasScx ? loadGuest<uint32_t>(rq.localDsqNr) : 0;
  groups = groups_.read(rq.groups);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);  // x86 loads stay in program order; the compiler's must as well

  out.setValid(task && nrRunning <= maxTasks);
  if (out.getValid()) {
    out.setNrRunning(nrRunning);
    out.setClock(clock);
    out.setCurrPid(task->pid);
    out.setCurrComm(task->comm);
    const bool called = rq.calls && loadGuest<uint64_t>(rq.calls) != 0;
    out.setAsked(task->pid == 0 && (called || task->toReschedule));
  }
  out.setScxValid(hasScx && scxNrRunning <= maxTasks && depth <= maxTasks);
  if (out.getScxValid()) {
    out.setScxNrRunning(scxNrRunning);
    out.setScxFlags(scxFlags);
    out.setLocalDsqDepth(depth);
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  return loadGuest<uint64_t>(rq.clock) == clock && loadGuest<uint64_t>(rq.curr) == curr;
}

std::optional<Sampler::Task> Sampler::readTask(uint64_t va) const {
  if (!pid_ || !comm_ || va == 0) return std::nullopt;
  const auto pid = kernel_.read<int32_t>(va + pid_->offset);
  Task task{};
  const size_t size = std::min<size_t>(comm_->size, sizeof task.comm - 1);
  if (!pid || *pid < 0 ||
      !kernel_.copy(va + comm_->offset, std::as_writable_bytes(std::span(task.comm, size)))) {
    return std::nullopt;
  }
  task.pid = *pid;
  const auto flags = flags_ ? kernel_.read<uint64_t>(va + flags_->offset) : std::nullopt;
  task.toReschedule = *pid == 0 && (flags.value_or(0) & needResched) != 0;
  sanitise(task.comm, size);
  return task;
}

void Sampler::sampleScx(rpc::ScxSample::Builder out) const {
  out.setState(rpc::ScxState::UNKNOWN);
  if (!scxState_ || states_.empty()) return;
  out.setPresent(true);
  const auto value = loadGuest<int32_t>(scxState_);
  for (const auto& [number, state] : states_) {
    if (number == value) out.setState(state);
  }
  if (scxRoot_ && opsName_) out.setOpsName(opsName());
}

void Sampler::sampleEvents(rpc::Sample::Builder out) const {
  const auto place = events_.locate();
  if (!place) return;
  for (auto cpu : out.getCpus()) {
    if (!cpu.getValid()) continue;
    const auto values = events_.read(*place, cpu.getCpu());
    auto list = cpu.initScxEvents(static_cast<unsigned>(values.size()));
    for (unsigned i = 0; i < values.size(); ++i) list.set(i, values[i]);
  }
  if (events_.holds(*place)) return;
  for (auto cpu : out.getCpus()) cpu.initScxEvents(0);
}

std::string Sampler::opsName() const {
  const auto scheduler = loadGuest<uint64_t>(scxRoot_);
  if (scheduler == 0) return {};
  auto name = kernel_.string(scheduler + opsName_->offset, std::min<size_t>(opsName_->size, maxOpsName));
  if (!name || loadGuest<uint64_t>(scxRoot_) != scheduler) return {};  // being freed or replaced
  sanitise(name->data(), name->size());
  return *name;
}

}  // namespace ktstr
