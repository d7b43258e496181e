// Snapshots at set times of a scenario.
//
// Times are the scenario's own: it runs while one of its steps does, from when the step's workers are made to
// when they are told to stop. Making and collecting workers in between is a pause, which moves all that is
// not due yet. (What a step does besides holding and sleeping, such as waiting for a payload, is not planned,
// and takes its time before what comes later.)
#pragma once

#include <kj/async.h>
#include <kj/timer.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "orchestrator/snapshots.h"
#include "orchestrator/stats_requests.h"
#include "protocol/report.capnp.h"

namespace ktstr {

class SnapshotSchedule {
 public:
  // `times` as of snapshotTimes().
  explicit SnapshotSchedule(std::vector<uint64_t> times) : times_(std::move(times)) {}

  // Both in host CLOCK_MONOTONIC ns; a second call in a row changes nothing.
  void resume(uint64_t nowNs);
  void pause(uint64_t sinceNs);

  // Host time at which the next one is due; nothing during a pause, or when all are begun.
  std::optional<uint64_t> next() const;
  std::string begin();  // its name, "periodic_000"; counted as begun
  bool done() const { return begun_ == times_.size(); }

 private:
  std::vector<uint64_t> times_;
  size_t begun_ = 0;
  uint64_t passedNs_ = 0;  // of the scenario's time, up to the last pause
  std::optional<uint64_t> resumedNs_;
};

// Takes them, one after another, each with what the scheduler said of itself just before: one that is due
// while another is being taken is late, not left out. Of a scenario that runs twice only the first time.
class PeriodicSnapshots {
 public:
  // `snapshots` and `timer` must outlive this object; `requestStats` as of StatsRequests.
  PeriodicSnapshots(std::vector<uint64_t> times, Snapshots& snapshots, std::function<uint32_t()> requestStats,
                    kj::Timer& timer)
      : schedule_(std::move(times)),
        snapshots_(snapshots),
        stats_(std::move(requestStats), timer),
        timer_(timer) {}

  void onEvent(rpc::GuestEvent::Reader event);

  // No more are begun: each that was planned is a fact that says so.
  void end();

 private:
  void arm();
  void fire();

  SnapshotSchedule schedule_;
  Snapshots& snapshots_;
  StatsRequests stats_;
  kj::Timer& timer_;
  kj::Promise<void> waiting_ = kj::READY_NOW, taking_ = kj::READY_NOW;
  bool taken_ = true;  // nothing is on its way
};

}  // namespace ktstr
