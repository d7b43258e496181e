#include <csignal>
#include <cstring>

#include "orchestrator/judge_guest.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr size_t maxSchedulerLogBytes = 64 * 1024;

// By a signal that is none of those by which it is asked to end, and ended if it does not.
bool crashed(uint32_t signal) {
  return signal != 0 && signal != SIGINT && signal != SIGTERM && signal != SIGKILL;
}

std::string endOf(rpc::GuestEvent::SchedulerExited::Reader exit) {
  return exit.getSignal() != 0 ? signalName(static_cast<int>(exit.getSignal()))
                               : text("exit code ", exit.getExitCode());
}

void noteEnd(uint64_t atNs, GuestStory& story) {
  if (story.schedulerEndNs == 0) story.schedulerEndNs = atNs;
}

void readEnd(rpc::GuestEvent::SchedulerExited::Reader exit, uint64_t atNs, GuestStory& story) {
  if (!exit.getExpected()) noteEnd(atNs, story);
  if (!exit.getExpected()) story.schedulerEnded = true;
  if (!exit.getExpected() || crashed(exit.getSignal())) story.schedulerEnd = endOf(exit);
}

}  // namespace

std::string signalName(int number) {
  const char* name = sigabbrev_np(number);
  return name != nullptr ? text("SIG", name) : text("signal ", number);
}

GuestStory readEvents(std::span<const rpc::GuestEvent::Reader> events) {
  GuestStory story;
  std::string log;
  for (const auto& event : events) {
    switch (event.which()) {
      case rpc::GuestEvent::READY:
        story.ready = true;
        story.realTimeHints = event.getReady().getRealTimeHints();
        break;
      case rpc::GuestEvent::SCHEDULER_ATTACHED:
        story.schedulerAttached = true;
        break;
      case rpc::GuestEvent::SCHEDULER_EXITED:
        readEnd(event.getSchedulerExited(), event.getAtNs(), story);
        break;
      case rpc::GuestEvent::SCHEDULER_LOG:
        log += event.getSchedulerLog().cStr();
        if (log.size() > 2 * maxSchedulerLogBytes) log.erase(0, log.size() - maxSchedulerLogBytes);
        break;
      case rpc::GuestEvent::SCENARIO_STARTED:
        story.scenarioStarted = true;
        story.scenarioStartNs = event.getAtNs();
        break;
      case rpc::GuestEvent::SCENARIO_ENDED:
        story.scenarioEnded = true;
        story.scenarioEndNs = event.getAtNs();
        break;
      case rpc::GuestEvent::FAILURE:
        story.failures.push_back(event.getFailure());
        if (event.getFailure().getName() == rpc::GuestFailureName::SCHEDULER_EXITED)
          noteEnd(event.getAtNs(), story);
        break;
      case rpc::GuestEvent::DONE:
        story.done = true;
        story.dropped = event.getDone().getDropped();
        break;
      default:
        break;
    }
  }
  story.schedulerLog = cleanText(log);
  story.attached = attachedTimes(events);
  return story;
}

}  // namespace ktstr
