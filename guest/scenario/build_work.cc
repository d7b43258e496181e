#include "guest/scenario/build_work.h"

namespace ktstr::say {
namespace {

kj::ArrayPtr<const uint32_t> list(const Numbers& numbers) {
  return kj::arrayPtr(numbers.data(), numbers.size());
}

}  // namespace

// ---- where

Affinity anywhere() {
  return [](auto to) { to.setInherit(); };
}
Affinity oneCpu() {
  return [](auto to) { to.setSingleCpu(); };
}
Affinity oneLlc() {
  return [](auto to) { to.setLlcAligned(); };
}
Affinity smtSiblings() {
  return [](auto to) { to.setSmtSiblingPair(); };
}
Affinity acrossCgroups() {
  return [](auto to) { to.setCrossCgroup(); };
}
Affinity onCpus(const Numbers& numbers) {
  return [=](auto to) { to.setExact(list(numbers)); };
}
Affinity randomCpus(uint32_t count, uint64_t seed, const Numbers& pool) {
  return [=](auto to) {
    auto subset = to.initRandomSubset();
    subset.setCount(count);
    subset.setSeed(seed);
    subset.setPool(list(pool));
  };
}

// ---- policies

Policy normalPolicy() {
  return [](auto to) { to.setNormal(); };
}
Policy batchPolicy() {
  return [](auto to) { to.setBatch(); };
}
Policy idlePolicy() {
  return [](auto to) { to.setIdle(); };
}
Policy fifoPolicy(uint32_t priority) {
  return [=](auto to) { to.setFifo(priority); };
}
Policy rrPolicy(uint32_t priority) {
  return [=](auto to) { to.setRr(priority); };
}
Policy extPolicy() {
  return [](auto to) { to.setExt(); };
}
Policy deadlinePolicy(uint32_t runtimeUs, uint32_t deadlineUs, uint32_t periodUs) {
  return [=](auto to) {
    auto deadline = to.initDeadline();
    deadline.setRuntimeUs(runtimeUs);
    deadline.setDeadlineUs(deadlineUs);
    deadline.setPeriodUs(periodUs);
  };
}

// ---- memory

Memory& Memory::staticNodes() {
  return set([](auto to) { to.setStaticNodes(true); });
}
Memory& Memory::relativeNodes() {
  return set([](auto to) { to.setRelativeNodes(true); });
}
Memory& Memory::numaBalancing() {
  return set([](auto to) { to.setNumaBalancing(true); });
}
Memory defaultMemory() {
  return Memory([](auto to) { to.setDefault(); });
}
Memory localMemory() {
  return Memory([](auto to) { to.setLocal(); });
}
Memory memoryOf(const Numbers& nodes) {
  return Memory([=](auto to) { to.setBind(list(nodes)); });
}
Memory memoryPreferredOf(uint32_t node) {
  return Memory([=](auto to) { to.setPreferred(node); });
}
Memory memoryPreferredOfAny(const Numbers& nodes) {
  return Memory([=](auto to) { to.setPreferredMany(list(nodes)); });
}
Memory memoryInterleaved(const Numbers& nodes) {
  return Memory([=](auto to) { to.setInterleave(list(nodes)); });
}
Memory memoryInterleavedByWeight(const Numbers& nodes) {
  return Memory([=](auto to) { to.setWeightedInterleave(list(nodes)); });
}

// ---- work

Work::Work(uint32_t workers, const Fill<rpc::WorkType>& type) {
  set([=](auto to) {
    to.setWorkers(workers);
    type(to.initType());
  });
}
Work& Work::name(const std::string& name) {
  return set([=](auto to) { to.setName(name); });
}
Work& Work::affinity(const Affinity& affinity) {
  return set([=](auto to) { affinity(to.initAffinity()); });
}
Work& Work::policy(const Policy& policy) {
  return set([=](auto to) { policy(to.initPolicy()); });
}
Work& Work::memory(const Memory& memory) {
  return set([=](auto to) { memory.write(to.initMemory()); });
}
Work& Work::threads() {
  return set([](auto to) { to.setCloneMode(rpc::CloneMode::THREAD); });
}

// ---- work types

Work yieldHeavy(uint32_t workers) {
  return {workers, [](auto type) { type.setYieldHeavy(); }};
}
Work forkExit(uint32_t workers) {
  return {workers, [](auto type) { type.setForkExit(); }};
}
Work niceSweep(uint32_t workers) {
  return {workers, [](auto type) { type.setNiceSweep(); }};
}

// One with one parameter.
#define WORK_TYPE_OF(name, Group, Type, parameter, Parameter)                           \
  Work name(uint32_t workers, Type parameter) {                                         \
    return {workers, [=](auto type) { type.init##Group().set##Parameter(parameter); }}; \
  }
WORK_TYPE_OF(spinWait, SpinWait, uint32_t, spinIters, SpinIters)
WORK_TYPE_OF(mixed, Mixed, uint32_t, spinIters, SpinIters)
WORK_TYPE_OF(aluHot, AluHot, rpc::AluWidth, width, Width)
WORK_TYPE_OF(smtSiblingSpin, SmtSiblingSpin, uint32_t, spinIters, SpinIters)
WORK_TYPE_OF(ioSyncWrite, IoSyncWrite, uint32_t, deviceUs, DeviceUs)
WORK_TYPE_OF(ioRandRead, IoRandRead, uint32_t, deviceUs, DeviceUs)
WORK_TYPE_OF(ioConvoy, IoConvoy, uint32_t, deviceUs, DeviceUs)
WORK_TYPE_OF(pipeIo, PipeIo, uint32_t, burstIters, BurstIters)
WORK_TYPE_OF(futexPingPong, FutexPingPong, uint32_t, spinIters, SpinIters)
WORK_TYPE_OF(affinityChurn, AffinityChurn, uint32_t, spinIters, SpinIters)
WORK_TYPE_OF(policyChurn, PolicyChurn, uint32_t, spinIters, SpinIters)
WORK_TYPE_OF(numaMigrationChurn, NumaMigrationChurn, uint32_t, periodMs, PeriodMs)

// One with several.
#define WORK_TYPE(name, Group)                                               \
  Work name(uint32_t workers, Parameters<rpc::WorkType::Group> parameters) { \
    return {workers, [=](auto type) {                                        \
              auto group = type.init##Group();                               \
              if (parameters) parameters(group);                             \
            }};                                                              \
  }
WORK_TYPE(ipcVariance, IpcVariance)
WORK_TYPE(idleChurn, IdleChurn)
WORK_TYPE(futexFanOut, FutexFanOut)
WORK_TYPE(fanOutCompute, FanOutCompute)
WORK_TYPE(asymmetricWaker, AsymmetricWaker)
WORK_TYPE(wakeChain, WakeChain)
WORK_TYPE(epollStorm, EpollStorm)
WORK_TYPE(thunderingHerd, ThunderingHerd)
WORK_TYPE(cachePressure, CachePressure)
WORK_TYPE(cacheYield, CacheYield)
WORK_TYPE(cachePipe, CachePipe)
WORK_TYPE(pageFaultChurn, PageFaultChurn)
WORK_TYPE(numaWorkingSetSweep, NumaWorkingSetSweep)
WORK_TYPE(cgroupChurn, CgroupChurn)
WORK_TYPE(mutexContention, MutexContention)
WORK_TYPE(priorityInversion, PriorityInversion)
WORK_TYPE(producerConsumerImbalance, ProducerConsumerImbalance)
WORK_TYPE(signalStorm, SignalStorm)
WORK_TYPE(preemptStorm, PreemptStorm)
WORK_TYPE(rtStarvation, RtStarvation)

Work bursty(uint32_t workers, uint32_t burstUs, uint32_t sleepUs) {
  return {workers, [=](auto type) {
            auto bursty = type.initBursty();
            bursty.setBurstUs(burstUs);
            bursty.setSleepUs(sleepUs);
          }};
}
Work sequence(uint32_t workers, const std::vector<WorkPhase>& phases) {
  return {workers, [=](auto type) {
            auto places = type.initSequence().initPhases(static_cast<unsigned>(phases.size()));
            for (unsigned i = 0; i < places.size(); i++) phases[i](places[i]);
          }};
}
Work custom(uint32_t workers, const std::string& function, const std::string& program) {
  return {workers, [=](auto type) {
            auto custom = type.initCustom();
            custom.setName(function);
            custom.setProgram(program);
          }};
}

WorkPhase spinFor(uint32_t microseconds) {
  return [=](auto to) { to.setSpinUs(microseconds); };
}
WorkPhase sleepFor(uint32_t microseconds) {
  return [=](auto to) { to.setSleepUs(microseconds); };
}
WorkPhase yieldFor(uint32_t microseconds) {
  return [=](auto to) { to.setYieldUs(microseconds); };
}
WorkPhase ioFor(uint32_t microseconds) {
  return [=](auto to) { to.setIoUs(microseconds); };
}
WorkPhase aluHotFor(uint32_t microseconds, rpc::AluWidth width) {
  return [=](auto to) {
    auto alu = to.initAluHot();
    alu.setForUs(microseconds);
    alu.setWidth(width);
  };
}

}  // namespace ktstr::say
