#include "vmm/kvm/vcpu_threads.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::vmm {
namespace {

using rpc::ExitKind;

// Interrupts KVM_RUN. It need do nothing: KVM_RUN returns EINTR.
constexpr int kKick = SIGUSR1;

}  // namespace

void prepareThreads() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(kKick, &action, nullptr);
  mallopt(M_ARENA_MAX, 1);
  std::thread([] {}).join();
}

VcpuThreads::VcpuThreads(std::vector<Vcpu>& vcpus, Ports& ports, int wake, Placement placement,
                         std::function<void(int)> confine)
    : vcpus_(vcpus),
      ports_(ports),
      wake_(wake),
      placement_(std::move(placement)),
      confine_(std::move(confine)),
      seats_(vcpus.size()) {
  std::unique_lock lock(mutex_);  // no thread looks at the others before all are there
  threads_.reserve(vcpus_.size());
  try {
    for (size_t i = 0; i < vcpus_.size(); ++i) threads_.emplace_back([this, i] { live(i); });
  } catch (const std::exception& e) {
    ending_ = true;  // those that are there are joined without the lock
    lock.unlock();
    throw Error(ExitCode::infrastructure, "thread-failed",
                text("make the thread of vCPU ", threads_.size(), " of ", vcpus_.size(), ": ", e.what()),
                "raise the limits on processes and memory, or ask for fewer vCPUs");
  }
}

void VcpuThreads::go() {
  const std::lock_guard lock(mutex_);
  running_ = true;
  for (Vcpu& vcpu : vcpus_) vcpu.leaveAtOnce() = 0;
  released_.notify_all();
}

void VcpuThreads::hold() {
  const std::lock_guard lock(mutex_);
  running_ = false;
  kick();
}

void VcpuThreads::endAll() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
  running_ = false;
  kick();
  released_.notify_all();
}

// With immediate_exit set a vCPU on its way into the guest comes back as well (KVM API,
// "KVM_CAP_IMMEDIATE_EXIT").
void VcpuThreads::kick() {
  for (size_t i = 0; i < vcpus_.size(); ++i) {
    vcpus_[i].leaveAtOnce() = 1;
    const bool inGuest = !seats_[i].parked && !seats_[i].ended;
    if (inGuest) pthread_kill(threads_[i].native_handle(), kKick);
  }
}

bool VcpuThreads::allParked() const {
  const std::lock_guard lock(mutex_);
  return std::all_of(seats_.begin(), seats_.end(), [](const Seat& seat) { return seat.parked; });
}

bool VcpuThreads::allEnded() const {
  const std::lock_guard lock(mutex_);
  return std::all_of(seats_.begin(), seats_.end(), [](const Seat& seat) { return seat.ended; });
}

std::string VcpuThreads::notParked() const {
  const std::lock_guard lock(mutex_);
  std::string late;
  for (size_t i = 0; i < seats_.size(); ++i) {
    if (!seats_[i].parked) late += text(late.empty() ? "" : ", ", i);
  }
  return late;
}

std::optional<VcpuRegisters> VcpuThreads::registers(uint32_t vcpu) const {
  const std::lock_guard lock(mutex_);
  return vcpu < seats_.size() ? seats_[vcpu].registers : std::nullopt;
}

EngineEnd VcpuThreads::end() const {
  const std::lock_guard lock(mutex_);
  EngineEnd end = end_.value_or(EngineEnd{ExitKind::STOPPED, "stopped; RIP by vCPU:"});
  for (const Seat& seat : seats_)
    if (!end_) end.detail += " " + (seat.registers ? hex(seat.registers->rip) : "not read");
  const std::string unknown = ports_.describeUnknown();
  return {end.kind, end.detail + (unknown.empty() ? "" : "; " + unknown)};
}

bool VcpuThreads::haveFinished() const {
  const std::lock_guard lock(mutex_);
  return end_.has_value();
}

std::vector<uint64_t> VcpuThreads::cpuNanos() {
  std::vector<uint64_t> nanos;
  for (std::jthread& thread : threads_) {
    clockid_t clock{};
    timespec time{};
    if (pthread_getcpuclockid(thread.native_handle(), &clock) != 0 || clock_gettime(clock, &time) != 0) {
      throw Error(ExitCode::infrastructure, "no-machine", "no machine: its vCPU threads are ending");
    }
    nanos.push_back(static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec));
  }
  return nanos;
}

void VcpuThreads::notify() {
  constexpr uint64_t one = 1;
  (void)!write(wake_, &one, sizeof one);
}

// ---- on the vCPU threads

void VcpuThreads::live(size_t index) {
  try {
    takePlace(index);
    confine_(vcpus_[index].fd());
    while (park(index)) runUntilHeld(index);
  } catch (const std::exception& e) {
    finish(ExitKind::ENGINE_FAILED, e.what(), index);
  }
  const std::lock_guard lock(mutex_);
  seats_[index].ended = true;
  notify();
}

void VcpuThreads::takePlace(size_t index) const {
  errno = 0;  // what succeeds leaves it alone
  if (!placement_.cpus.empty()) {
    cpu_set_t wanted, got;
    CPU_ZERO(&wanted);
    CPU_SET(placement_.cpus[index], &wanted);
    if (sched_setaffinity(0, sizeof wanted, &wanted) != 0 || sched_getaffinity(0, sizeof got, &got) != 0 ||
        CPU_EQUAL(&wanted, &got) == 0) {
      throw errnoError("pinning-refused", text("pin vCPU ", index, " to CPU ", placement_.cpus[index]),
                       "let the VMM's cpuset have that CPU");
    }
  }
  if (placement_.priority != 0) {
    const sched_param wanted{placement_.priority};
    sched_param got{};
    if (sched_setscheduler(0, SCHED_FIFO, &wanted) != 0 || sched_getscheduler(0) != SCHED_FIFO ||
        sched_getparam(0, &got) != 0 || got.sched_priority != wanted.sched_priority) {
      throw errnoError("realtime-refused", text("make vCPU ", index, " SCHED_FIFO ", wanted.sched_priority),
                       "start the VMM with that limit (ulimit -r, LimitRTPRIO=) or a higher priority");
    }
  }
}

bool VcpuThreads::park(size_t index) {
  const VcpuRegisters registers = vcpus_[index].registers();
  vcpus_[index].noteFreeze();
  std::unique_lock lock(mutex_);
  Seat& seat = seats_[index];
  seat.registers = registers;
  seat.parked = true;
  if (std::all_of(seats_.begin(), seats_.end(), [](const Seat& s) { return s.parked; })) notify();
  released_.wait(lock, [this] { return running_ || ending_; });
  seat.parked = false;
  if (!ending_) seat.registers.reset();
  return !ending_;
}

void VcpuThreads::runUntilHeld(size_t index) {
  for (;;) {
    if (ioctl(vcpus_[index].fd(), KVM_RUN, 0) == 0) {
      handleExit(index);
    } else if (errno != EINTR && errno != EAGAIN) {  // EAGAIN: it was waiting for INIT or SIPI
      finish(ExitKind::ENGINE_FAILED, errnoError("kvm-failed", "KVM_RUN").what(), index);
    }
    if (vcpus_[index].leaveAtOnce() != 0) return;
  }
}

void VcpuThreads::handleIo(kvm_run& run) {
  uint8_t* data = reinterpret_cast<uint8_t*>(&run) + run.io.data_offset;
  for (uint32_t i = 0; i < run.io.count; ++i, data += run.io.size) {
    if (run.io.direction == KVM_EXIT_IO_IN) {
      ports_.read(run.io.port, {data, run.io.size});
      continue;
    }
    const PortEffect effect = ports_.write(run.io.port, {data, run.io.size});
    if (effect == PortEffect::reset)
      return finish(ExitKind::RESET, "the guest reset by the keyboard controller", vcpus_.size());
    if (effect == PortEffect::powerOff)
      return finish(ExitKind::POWER_OFF, "the guest powered off", vcpus_.size());
  }
}

void VcpuThreads::handleExit(size_t index) {
  kvm_run& run = vcpus_[index].run();
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      return handleIo(run);
    case KVM_EXIT_MMIO:
      return ports_.memory(run.mmio.phys_addr, {run.mmio.data, run.mmio.len}, run.mmio.is_write != 0);
    case KVM_EXIT_IOAPIC_EOI:  // of a level-triggered line, which none of ours is
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return;
    case KVM_EXIT_HLT:
      return finish(ExitKind::ENGINE_FAILED, "a halted vCPU came back to us: no interrupt controller took it",
                    index);
    case KVM_EXIT_SHUTDOWN:
      return finish(ExitKind::RESET, "triple fault", index);
    case KVM_EXIT_FAIL_ENTRY:
      return finish(ExitKind::ENGINE_FAILED,
                    text("KVM could not enter the guest, hardware reason ",
                         hex(run.fail_entry.hardware_entry_failure_reason)),
                    index);
    case KVM_EXIT_INTERNAL_ERROR:
      return finish(ExitKind::ENGINE_FAILED, text("KVM internal error, suberror ", run.internal.suberror),
                    index);
    default:
      return finish(ExitKind::ENGINE_FAILED, text("unexpected exit, reason ", run.exit_reason), index);
  }
}

// The first reason stands. `index` names the vCPU whose registers are evidence; none if it is the number of
// vCPUs. The other threads are ended by whom notify() wakes: no vCPU thread sends signals.
void VcpuThreads::finish(ExitKind kind, const std::string& what, size_t index) {
  std::string detail = what;
  try {
    if (index < vcpus_.size()) detail += text("; vCPU ", index, ": ", vcpus_[index].dump());
  } catch (const Error& e) {  // KVM has given up on the VM
    detail += text("; vCPU ", index, ": ", e.what());
  }
  const std::lock_guard lock(mutex_);
  if (!end_) end_ = EngineEnd{kind, detail};
  ending_ = true;
  running_ = false;
  for (Vcpu& vcpu : vcpus_) vcpu.leaveAtOnce() = 1;
  notify();
}

}  // namespace ktstr::vmm
