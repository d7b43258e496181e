#include "guest/scenario/work_types.h"

#include <capnp/dynamic.h>

#include <array>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Type = rpc::WorkType;
using Reader = rpc::WorkType::Reader;

uint32_t two(Reader) {
  return 2;
}

constexpr const char* everyone = "every worker";

// In the order of the schema's union, which is that of Which.
constexpr std::array<WorkTypeInfo, 38> table = {{
    {.about = "busy loop with a pause hint", .cpuBound = true},
    {.about = "sched_yield after every unit of work", .cpuBound = true},
    {.about = "spins, then sleeps", .wakeLatency = everyone},
    {.about = "pairs that wake each other by a futex, in turns", .wakeLatency = everyone, .size = two},
    {.about = "pairs that send each other a byte by pipes, in turns", .wakeLatency = everyone, .size = two},
    {.about = "spins, then sched_yield", .cpuBound = true},
    {.about = "chains of multiplications, no system call", .cpuBound = true, .opDuration = "iteration"},
    {.about = "pairs that spin on the two threads of a core",
     .cpuBound = true,
     .opDuration = "iteration",
     .size = two},
    {.about = "phases of many and of few instructions per cycle in turn",
     .cpuBound = true,
     .opDuration = "iteration",
     .memory = true},
    {.about = "synchronous writes to a disk",
     .wakeLatency = everyone,
     .opDuration = "16 writes and fdatasync"},
    {.about = "random O_DIRECT reads of a disk", .wakeLatency = everyone, .opDuration = "read"},
    {.about = "sequential O_DIRECT writes and random reads of a disk",
     .wakeLatency = everyone,
     .opDuration = "write and read"},
    {.about = "short bursts and short sleeps: in and out of idle", .wakeLatency = everyone},
    {.about = "one wakes many, who all spin",
     .wakeLatency = "positions 1..fanOut",
     .size = [](Reader type) { return 1 + type.getFutexFanOut().getFanOut(); }},
    {.about = "read-modify-writes over a buffer", .cpuBound = true, .memory = true},
    {.about = "read-modify-writes over a buffer, then sched_yield", .cpuBound = true, .memory = true},
    {.about = "pairs that send each other a byte by pipes, with work on a buffer in between",
     .wakeLatency = everyone,
     .memory = true,
     .size = two},
    {.about = "phases of spinning, sleeping, yielding, I/O and arithmetic in order",
     .wakeLatency = "every worker, of its sleeps and I/O"},
    {.about = "forks a child that exits at once, and waits for it",
     .wakeLatency = everyone,
     .events = "children reaped"},
    {.about = "spins with one nice value after the other", .cpuBound = true, .events = "changes of nice"},
    {.about = "spins on one random CPU after the other", .cpuBound = true, .events = "changes of affinity"},
    {.about = "spins in one scheduling policy after the other",
     .cpuBound = true,
     .events = "changes of policy"},
    {.about = "sleeps, and spins on one NUMA node after the other",
     .wakeLatency = everyone,
     .events = "changes of node"},
    {.about = "sleeps, and spins in one cgroup after the other",
     .wakeLatency = everyone,
     .events = "changes of cgroup"},
    {.about = "one wakes many, who multiply matrices as big as a cache",
     .wakeLatency = "positions 1..fanOut",
     .opDuration = "the matrices of a wake-up, positions 1..fanOut",
     .memory = true,
     .size = [](Reader type) { return 1 + type.getFanOutCompute().getFanOut(); }},
    {.about = "pairs in which one spins and wakes the other, each in a scheduling class of its own",
     .wakeLatency = "position 1",
     .size = two},
    {.about = "rings in which each works and wakes the next",
     .wakeLatency = everyone,
     .size = [](Reader type) { return type.getWakeChain().getDepth(); }},
    {.about = "bursts of events that many wait for in one epoll",
     .wakeLatency = "consumers",
     .events = "wake-ups with an event (consumers), events sent (producers)",
     .size =
         [](Reader type) {
           return type.getEpollStorm().getProducers() + type.getEpollStorm().getConsumers();
         }},
    {.about = "one sleeps, and wakes many at once",
     .wakeLatency = "every worker: of its sleep, of the wake-up",
     .size = [](Reader type) { return 1 + type.getThunderingHerd().getWaiters(); }},
    {.about = "faults pages in at random and gives them back", .cpuBound = true, .memory = true},
    {.about = "moves its memory from node to node and writes to all of it",
     .wakeLatency = everyone,
     .events = "moves of the memory",
     .memory = true},
    {.about = "many want one lock",
     .wakeLatency = "those that had to wait",
     .opDuration = "from wanting the lock to having it",
     .size = [](Reader type) { return type.getMutexContention().getContenders(); }},
    {.about = "high and low priority share a lock, medium spins",
     .wakeLatency = "those that had to wait",
     .opDuration = "from wanting the lock to having it, high and low",
     .size =
         [](Reader type) {
           const auto tiers = type.getPriorityInversion();
           return tiers.getHigh() + tiers.getMedium() + tiers.getLow();
         }},
    {.about = "a bounded queue that is filled faster than it is emptied, or slower",
     .wakeLatency = "every worker: of its sleep, of a full or an empty queue",
     .opDuration = "from push to pop, consumers",
     .events = "items pushed or popped",
     .size =
         [](Reader type) {
           const auto queue = type.getProducerConsumerImbalance();
           return queue.getProducers() + queue.getConsumers();
         }},
    {.about = "pairs that signal each other while they spin",
     .cpuBound = true,
     .events = "signals handled",
     .size = two},
    {.about = "a real-time task that wakes often among tasks that spin",
     .wakeLatency = "position 0",
     .size = [](Reader type) { return 1 + type.getPreemptStorm().getCfsWorkers(); }},
    {.about = "real-time tasks that never sleep beside others that want to run",
     .size =
         [](Reader type) {
           return type.getRtStarvation().getRtWorkers() + type.getRtStarvation().getCfsWorkers();
         }},
    {.about = "a function of the test's author",
     .wakeLatency = "as it reports",
     .opDuration = "as it reports",
     .events = "as it reports"},
}};
static_assert(static_cast<size_t>(Type::CUSTOM) + 1 == table.size());
static_assert(static_cast<size_t>(Type::CGROUP_CHURN) == 23 && static_cast<size_t>(Type::EPOLL_STORM) == 27);

}  // namespace

const WorkTypeInfo& workTypeInfo(Type::Which which) {
  if (static_cast<size_t>(which) < table.size()) return table[static_cast<size_t>(which)];
  throw Error(ExitCode::usage, "scenario-invalid",
              "unknown work type; this build is older than the scenario");
}

std::string workTypeName(Reader type) {
  KJ_IF_MAYBE (field, capnp::DynamicStruct::Reader(type).which()) {
    return field->getProto().getName().cStr();
  }
  return "unknown";
}

uint32_t workGroupSize(Reader type) {
  const WorkTypeInfo& info = workTypeInfo(type.which());
  return info.size != nullptr ? info.size(type) : 1;
}

std::string workName(rpc::WorkSpec::Reader work) {
  return work.getName().size() > 0 ? std::string(work.getName().cStr()) : workTypeName(work.getType());
}

}  // namespace ktstr
