// Saying work in C++: what workers do, as whom, and where. As guest/scenario/build.h, of which this is a
// part: values that write themselves into a message, and the schema's default where nothing is said.
//
//   wakeChain(8, [](auto to) { to.setDepth(4); }).affinity(oneLlc()).nice(-5)
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/scenario.capnp.h"

namespace ktstr::say {

// Writes some of a struct's fields: [](auto to) { to.setMemoryMaxBytes(1 << 20); }
template <typename T>
using Fill = std::function<void(typename T::Builder)>;

// A struct as what is to be written into it, in order. set() says whatever has no name of its own here.
template <typename T, typename Self>
class Filled {
 public:
  Self& set(Fill<T> fill) {
    fills_.push_back(std::move(fill));
    return static_cast<Self&>(*this);
  }
  void write(typename T::Builder to) const {
    for (const auto& fill : fills_) fill(to);
  }

 private:
  std::vector<Fill<T>> fills_;
};

using Numbers = std::vector<uint32_t>;  // of CPUs, of NUMA nodes

using Affinity = Fill<rpc::AffinityIntent>;
Affinity anywhere();
Affinity oneCpu();
Affinity oneLlc();
Affinity smtSiblings();
Affinity acrossCgroups();
Affinity onCpus(const Numbers& numbers);
Affinity randomCpus(uint32_t count, uint64_t seed = 1, const Numbers& pool = {});

using Policy = Fill<rpc::SchedPolicy>;
Policy normalPolicy();
Policy batchPolicy();
Policy idlePolicy();
Policy fifoPolicy(uint32_t priority);
Policy rrPolicy(uint32_t priority);
Policy extPolicy();
Policy deadlinePolicy(uint32_t runtimeUs, uint32_t deadlineUs, uint32_t periodUs = 0);

class Memory : public Filled<rpc::MemPolicy, Memory> {
 public:
  explicit Memory(Fill<rpc::MemPolicy> policy) { set(std::move(policy)); }
  Memory& staticNodes();
  Memory& relativeNodes();
  Memory& numaBalancing();
};
Memory defaultMemory();
Memory localMemory();
Memory memoryOf(const Numbers& nodes);  // of no others
Memory memoryPreferredOf(uint32_t node);
Memory memoryPreferredOfAny(const Numbers& nodes);
Memory memoryInterleaved(const Numbers& nodes);
Memory memoryInterleavedByWeight(const Numbers& nodes);

// What a work group says of itself, and a cgroup of those of its work groups that do not.
template <typename T, typename Self>
class Identified : public Filled<T, Self> {
 public:
  Self& nice(int8_t value) {
    return this->set([=](auto to) { to.setNice(value); });
  }
  Self& comm(const std::string& name) {
    return this->set([=](auto to) { to.setComm(name); });
  }
  Self& pcomm(const std::string& name) {
    return this->set([=](auto to) { to.setPcomm(name); });
  }
  Self& uid(uint32_t number) {
    return this->set([=](auto to) { to.setUid(number); });
  }
  Self& gid(uint32_t number) {
    return this->set([=](auto to) { to.setGid(number); });
  }
  Self& numaNode(int32_t node) {
    return this->set([=](auto to) { to.setNumaNode(node); });
  }
};

class Work : public Identified<rpc::WorkSpec, Work> {
 public:
  Work(uint32_t workers, const Fill<rpc::WorkType>& type);
  Work& name(const std::string& name);
  Work& affinity(const Affinity& affinity);
  Work& policy(const Policy& policy);
  Work& memory(const Memory& memory);
  Work& threads();  // of one process
};

// The work types by their names. Of most the parameters are said by a Fill.
template <typename T>
using Parameters = const Fill<T>&;

// Spinning.
Work spinWait(uint32_t workers, uint32_t spinIters = 1024);
Work yieldHeavy(uint32_t workers);
Work mixed(uint32_t workers, uint32_t spinIters = 1024);
Work aluHot(uint32_t workers, rpc::AluWidth width = rpc::AluWidth::WIDEST);
Work smtSiblingSpin(uint32_t workers, uint32_t spinIters = 1024);
Work ipcVariance(uint32_t workers, Parameters<rpc::WorkType::IpcVariance> parameters = {});
// A disk.
Work ioSyncWrite(uint32_t workers, uint32_t deviceUs = 100);
Work ioRandRead(uint32_t workers, uint32_t deviceUs = 100);
Work ioConvoy(uint32_t workers, uint32_t deviceUs = 100);
// Sleeping, and waking each other.
Work bursty(uint32_t workers, uint32_t burstUs = 50'000, uint32_t sleepUs = 100'000);
Work idleChurn(uint32_t workers, Parameters<rpc::WorkType::IdleChurn> parameters = {});
Work pipeIo(uint32_t workers, uint32_t burstIters = 1024);
Work futexPingPong(uint32_t workers, uint32_t spinIters = 1024);
Work futexFanOut(uint32_t workers, Parameters<rpc::WorkType::FutexFanOut> parameters = {});
Work fanOutCompute(uint32_t workers, Parameters<rpc::WorkType::FanOutCompute> parameters = {});
Work asymmetricWaker(uint32_t workers, Parameters<rpc::WorkType::AsymmetricWaker> parameters = {});
Work wakeChain(uint32_t workers, Parameters<rpc::WorkType::WakeChain> parameters = {});
Work epollStorm(uint32_t workers, Parameters<rpc::WorkType::EpollStorm> parameters = {});
Work thunderingHerd(uint32_t workers, Parameters<rpc::WorkType::ThunderingHerd> parameters = {});
// Caches and memory.
Work cachePressure(uint32_t workers, Parameters<rpc::WorkType::CachePressure> parameters = {});
Work cacheYield(uint32_t workers, Parameters<rpc::WorkType::CacheYield> parameters = {});
Work cachePipe(uint32_t workers, Parameters<rpc::WorkType::CachePipe> parameters = {});
Work pageFaultChurn(uint32_t workers, Parameters<rpc::WorkType::PageFaultChurn> parameters = {});
Work numaWorkingSetSweep(uint32_t workers, Parameters<rpc::WorkType::NumaWorkingSetSweep> parameters = {});
// What a task is, changed all the time.
Work forkExit(uint32_t workers);
Work niceSweep(uint32_t workers);
Work affinityChurn(uint32_t workers, uint32_t spinIters = 1024);
Work policyChurn(uint32_t workers, uint32_t spinIters = 1024);
Work numaMigrationChurn(uint32_t workers, uint32_t periodMs = 100);
Work cgroupChurn(uint32_t workers, Parameters<rpc::WorkType::CgroupChurn> parameters = {});
// Locks and queues.
Work mutexContention(uint32_t workers, Parameters<rpc::WorkType::MutexContention> parameters = {});
Work priorityInversion(uint32_t workers, Parameters<rpc::WorkType::PriorityInversion> parameters = {});
Work producerConsumerImbalance(uint32_t workers,
                               Parameters<rpc::WorkType::ProducerConsumerImbalance> parameters = {});
// Signals and real time.
Work signalStorm(uint32_t workers, Parameters<rpc::WorkType::SignalStorm> parameters = {});
Work preemptStorm(uint32_t workers, Parameters<rpc::WorkType::PreemptStorm> parameters = {});
Work rtStarvation(uint32_t workers, Parameters<rpc::WorkType::RtStarvation> parameters = {});

// One thing after the other, then again.
using WorkPhase = Fill<rpc::WorkPhase>;
WorkPhase spinFor(uint32_t microseconds);
WorkPhase sleepFor(uint32_t microseconds);
WorkPhase yieldFor(uint32_t microseconds);
WorkPhase ioFor(uint32_t microseconds);
WorkPhase aluHotFor(uint32_t microseconds, rpc::AluWidth width = rpc::AluWidth::WIDEST);
Work sequence(uint32_t workers, const std::vector<WorkPhase>& phases);

// A function declared with KTSTR_WORK, of this program unless another is named.
Work custom(uint32_t workers, const std::string& function, const std::string& program = "");

}  // namespace ktstr::say
