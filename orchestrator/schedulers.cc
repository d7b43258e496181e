#include "orchestrator/schedulers.h"

#include "orchestrator/console.h"

namespace ktstr {

std::vector<AttachedTime> attachedTimes(std::span<const rpc::GuestEvent::Reader> events) {
  std::vector<AttachedTime> times;
  std::string name;
  const auto leave = [&](uint64_t atNs, bool ordered) {
    if (times.empty() || times.back().toNs) return;
    times.back().toNs = atNs;
    times.back().ordered = ordered;
  };
  bool attached = false;  // the one that was started last
  for (const auto& event : events) {
    switch (event.which()) {
      case rpc::GuestEvent::SCHEDULER_STARTED:
        name = cleanText(event.getSchedulerStarted().getName().cStr());
        attached = false;
        break;
      case rpc::GuestEvent::SCHEDULER_ATTACHED:
        times.push_back({name, cleanText(event.getSchedulerAttached().getOpsName().cStr()), event.getAtNs()});
        attached = true;
        break;
      case rpc::GuestEvent::SCHEDULER_EXITED:
        if (attached) leave(event.getAtNs(), event.getSchedulerExited().getExpected());
        break;
      default:
        break;
    }
  }
  return times;
}

void writeSchedulers(std::span<const AttachedTime> times, uint64_t scenarioStartNs,
                     const std::string& underTest, rpc::RunRecord::Builder record) {
  const auto milliseconds = [&](uint64_t atNs) {
    return (static_cast<double>(atNs) - static_cast<double>(scenarioStartNs)) / 1e6;
  };
  auto list = record.initSchedulers(static_cast<unsigned>(times.size()));
  for (unsigned i = 0; i < list.size(); i++) {
    list[i].setName(times[i].name.empty() ? underTest : times[i].name);
    list[i].setOpsName(times[i].opsName);
    list[i].setAttachedMs(milliseconds(times[i].fromNs));
    if (times[i].toNs) list[i].setLeftMs(milliseconds(*times[i].toNs));
    list[i].setOrdered(times[i].ordered);
  }
}

}  // namespace ktstr
