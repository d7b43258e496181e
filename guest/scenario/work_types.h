// What the work types of protocol/work_type.capnp are called, how they are grouped, what they measure, and
// which of their parameters are refused.
#pragma once

#include <cstdint>
#include <string>

#include "guest/topology.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

// One row of the table of work types. A text is empty where there is nothing of the kind.
struct WorkTypeInfo {
  const char* about;                             // what a worker does, one line
  bool cpuBound = false;                         // every worker wants to run all the time
  const char* wakeLatency = "";                  // who measures it
  const char* opDuration = "";                   // of which operation, and who measures it
  const char* events = "";                       // what WorkerReport.events counts
  bool memory = false;                           // reports on which nodes its memory is
  uint32_t (*size)(rpc::WorkType::Reader) = {};  // workers of a group; absent: 1
};

// The row of a type. Throws Error "scenario-invalid" for one of a later schema.
const WorkTypeInfo& workTypeInfo(rpc::WorkType::Which which);

// "spinWait", "futexPingPong", ...: the schema's member name. "unknown" for one of a later schema.
std::string workTypeName(rpc::WorkType::Reader type);

// Workers that work with each other, by the type's parameters; 1 for those that work alone.
uint32_t workGroupSize(rpc::WorkType::Reader type);

// WorkSpec.name, or the type's name where it is empty: how reports call the group.
std::string workName(rpc::WorkSpec::Reader work);

// Throws Error "scenario-invalid" (ExitCode::usage), message beginning with the place, for
//   - a parameter outside its range, an enum value of a later schema
//   - a number of workers that is no multiple of the group size
//   - parameters that contradict each other or the topology: a stride longer than its buffer, nodes that do
//     not exist, SMT siblings or node changes where there is one thread or node, threads in cgroupChurn
void checkWorkType(const std::string& place, rpc::WorkSpec::Reader work, const Topology& topology);

}  // namespace ktstr
