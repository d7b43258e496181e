// The parts of judging the guest's lifecycle: what they share.
#pragma once

#include <string>

#include "orchestrator/judge_parts.h"

namespace ktstr {

// How a guest failure is named and judged, and what to do about it.
struct FailureKind {
  rpc::GuestFailureName failure;
  const char* name;
  Outcome outcome;
  const char* hint;
  bool atStart = false;  // the scheduler never ran a task
};
FailureKind kindOf(rpc::GuestFailureName failure);
Finding failureFinding(rpc::GuestFailureName failure, std::string message);
inline constexpr const char* ourFault =  // a hint
    "this is a fault of ktstr or of its image, not of the scheduler: see console.log of the run, and report "
    "it";

std::string signalName(int number);  // "SIGSEGV"

// Everything that the kernel and the scheduler itself said about its end.
std::string schedulerEvidence(const Evidence& evidence, const GuestStory& story);

// Blames the host if it is to be blamed for a wait of this length.
void weighHost(const Evidence& evidence, double waitMs, Finding& finding);
// Blames the accelerator if the kernel says that a timer never fired.
void blameTimer(const ConsoleReport& console, Finding& finding);

void judgeConsole(const Evidence& evidence, const GuestStory& story, Findings& findings);
// One finding for the end of the scheduler, from whoever told of it: the agent's failure, its exit, the
// kernel.
void judgeSchedulerEnd(const Evidence& evidence, const GuestStory& story, Findings& findings);

}  // namespace ktstr
