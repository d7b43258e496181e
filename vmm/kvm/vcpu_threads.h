// The threads that run a machine's vCPUs: held and let go together, and ended together.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "protocol/fd.h"
#include "vmm/engine.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/ports.h"

namespace ktstr::vmm {

// Once, before the process locks itself down: the handler of the signal that interrupts KVM_RUN, what glibc
// sets up with a process's first thread, and one heap for all threads: for its ninth, glibc would read the
// number of CPUs from sysfs (malloc/arena.c, arena_get2()).
void prepareThreads();

class VcpuThreads {
 public:
  // Makes the threads; each takes its place on the host, calls `confine` with its vCPU's descriptor, and
  // waits. A refused place ends the machine: "pinning-refused: ...", "realtime-refused: ...". Whenever all
  // are parked, one has ended the machine, or all have ended, `wake` (an eventfd) becomes readable. Throws
  // Error "thread-failed".
  VcpuThreads(std::vector<Vcpu>& vcpus, Ports& ports, int wake, Placement placement,
              std::function<void(int vcpu)> confine);
  VcpuThreads(const VcpuThreads&) = delete;
  VcpuThreads& operator=(const VcpuThreads&) = delete;

  void go();
  // Makes every vCPU leave the guest and wait; nothing if they do already. allParked() tells when.
  void hold();
  bool allParked() const;
  // The registers of a vCPU when it was parked; only while allParked() after a hold().
  std::optional<VcpuRegisters> registers(uint32_t vcpu) const;
  std::string notParked() const;  // "1, 3"

  // Makes all threads end. To be repeated until allEnded(): a thread may be on its way into the guest.
  void endAll();
  bool allEnded() const;

  // A vCPU has ended the machine.
  bool haveFinished() const;
  // Why the machine came to its end: a vCPU's reason with its registers, or stopped with where each vCPU was.
  EngineEnd end() const;
  // By vCPU, in ns. Throws Error "no-machine" once a thread has ended.
  std::vector<uint64_t> cpuNanos();

 private:
  struct Seat {
    bool parked = false, ended = false;
    std::optional<VcpuRegisters> registers;
  };

  void live(size_t index);
  void takePlace(size_t index) const;
  bool park(size_t index);  // returns false when it is time to end
  void runUntilHeld(size_t index);
  void handleExit(size_t index);
  void handleIo(kvm_run& run);
  void finish(rpc::ExitKind kind, const std::string& what, size_t index);
  void kick();
  void notify();

  std::vector<Vcpu>& vcpus_;
  Ports& ports_;
  int wake_;
  Placement placement_;
  std::function<void(int)> confine_;

  mutable std::mutex mutex_;
  std::condition_variable released_;
  bool running_ = false, ending_ = false;
  std::vector<Seat> seats_;
  std::optional<EngineEnd> end_;
  std::vector<std::jthread> threads_;  // all must have ended when this does
};

}  // namespace ktstr::vmm
