#include "guest/work/loops.h"

#include <array>

#include "protocol/error.h"

namespace ktstr::work {
namespace {

// In the order of the schema's union, which is that of Which.
constexpr std::array<Loop, 38> loops = {
    spinWait,
    yieldHeavy,
    bursty,
    futexPingPong,
    pipeIo,
    mixed,
    aluHot,
    smtSiblingSpin,
    ipcVariance,
    ioSyncWrite,
    ioRandRead,
    ioConvoy,
    idleChurn,
    futexFanOut,
    cachePressure,
    cacheYield,
    cachePipe,
    sequence,
    forkExit,
    niceSweep,
    affinityChurn,
    policyChurn,
    numaMigrationChurn,
    cgroupChurn,
    fanOutCompute,
    asymmetricWaker,
    wakeChain,
    epollStorm,
    thunderingHerd,
    pageFaultChurn,
    numaWorkingSetSweep,
    mutexContention,
    priorityInversion,
    producerConsumerImbalance,
    signalStorm,
    preemptStorm,
    rtStarvation,
    custom,
};
static_assert(loops[static_cast<size_t>(Type::CUSTOM)] == custom);
static_assert(loops[static_cast<size_t>(Type::NUMA_MIGRATION_CHURN)] == numaMigrationChurn);
static_assert(loops[static_cast<size_t>(Type::NUMA_WORKING_SET_SWEEP)] == numaWorkingSetSweep);

}  // namespace

Loop loopOf(Type::Which which) {
  if (static_cast<size_t>(which) < loops.size()) return loops[static_cast<size_t>(which)];
  throw Error(ExitCode::usage, "scenario-invalid",
              "unknown work type; this build is older than the scenario");
}

}  // namespace ktstr::work
