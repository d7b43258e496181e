// What the workers do: one loop for each work type of protocol/work_type.capnp, which says what it is. A loop
// returns when the worker is told to stop, at most 100 ms of its own CPU time and waits later, or when it
// cannot work at all (counted as an error).
#pragma once

#include "guest/work/seat.h"

namespace ktstr::work {

using Loop = void (*)(Seat&);

// The loop of a type. Throws Error "scenario-invalid" for one of a later schema.
Loop loopOf(Type::Which which);

// spin.cc
void spinWait(Seat& seat);
void yieldHeavy(Seat& seat);
void mixed(Seat& seat);
void smtSiblingSpin(Seat& seat);
void preemptStorm(Seat& seat);
void rtStarvation(Seat& seat);

// alu.cc
void aluHot(Seat& seat);
void ipcVariance(Seat& seat);

// sleep.cc
void bursty(Seat& seat);
void idleChurn(Seat& seat);
void sequence(Seat& seat);

// disk.cc
void ioSyncWrite(Seat& seat);
void ioRandRead(Seat& seat);
void ioConvoy(Seat& seat);

// pairs.cc
void futexPingPong(Seat& seat);
void pipeIo(Seat& seat);
void cachePipe(Seat& seat);
void asymmetricWaker(Seat& seat);
void signalStorm(Seat& seat);

// wakeups.cc
void futexFanOut(Seat& seat);
void fanOutCompute(Seat& seat);
void thunderingHerd(Seat& seat);
void wakeChain(Seat& seat);
void epollStorm(Seat& seat);

// memory.cc
void cachePressure(Seat& seat);
void cacheYield(Seat& seat);
void pageFaultChurn(Seat& seat);
void numaWorkingSetSweep(Seat& seat);

// churn.cc
void forkExit(Seat& seat);
void niceSweep(Seat& seat);
void affinityChurn(Seat& seat);
void policyChurn(Seat& seat);
void numaMigrationChurn(Seat& seat);
void cgroupChurn(Seat& seat);

// locks.cc
void mutexContention(Seat& seat);
void priorityInversion(Seat& seat);
void producerConsumerImbalance(Seat& seat);

// custom.cc
void custom(Seat& seat);

}  // namespace ktstr::work
