#include "orchestrator/guest_record.h"

#include <vector>

#include "orchestrator/judge.h"
#include "orchestrator/schedulers.h"

namespace ktstr {

void fillGuest(std::span<const rpc::GuestEvent::Reader> events, const std::string& underTest,
               rpc::RunRecord::Builder record) {
  std::vector<rpc::PayloadReport::Reader> payloads;
  uint64_t scenarioStartNs = 0;
  for (const auto& event : events) {
    if (event.isReady()) record.setGuest(event.getReady());
    if (event.isScenarioStarted()) scenarioStartNs = event.getAtNs();
    if (event.isPayloadEnded()) payloads.push_back(event.getPayloadEnded());
  }
  const auto times = attachedTimes(events);
  if (!times.empty()) record.setSchedulerOps(times.front().opsName);
  writeSchedulers(times, scenarioStartNs, underTest, record);
  auto ended = record.initPayloads(static_cast<uint>(payloads.size()));
  for (uint i = 0; i < ended.size(); i++) ended.setWithCaveats(i, payloads[i]);
  const auto reports = workerReports(events);
  auto workers = record.initWorkers(static_cast<uint>(reports.size()));
  for (uint i = 0; i < workers.size(); i++) workers.setWithCaveats(i, reports[i]);
}

}  // namespace ktstr
