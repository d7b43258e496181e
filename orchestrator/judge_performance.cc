#include "orchestrator/judge_parts.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// Of a CPU's time. HLT and PAUSE do not leave the guest, so that a vCPU is on its CPU all the time, idle or
// not; what stops the machine for a snapshot is far less than the rest.
constexpr double leastShare = 0.8;

Finding notKept(Outcome outcome, std::string message, std::string hint) {
  return {"performance-not-kept", outcome, std::move(message), std::move(hint)};
}

}  // namespace

void judgePerformance(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  if (!evidence.performanceMode) return;
  if (story.ready && !story.realTimeHints) {
    findings.add(notKept(Outcome::INFRASTRUCTURE,
                         "the guest does not see KVM_HINTS_REALTIME, which its CPUID was to say",
                         "see the hypervisor's leaf 0x40000001 in the guest (cpuid); this is ktstr's fault"));
  }
  for (const auto& [cpu, time] : evidence.monitor.hostShares) {
    const double share = time.wallMs > 0 ? time.hostMs / time.wallMs : 1;
    if (share >= leastShare) continue;
    Finding finding =
        notKept(Outcome::INCONCLUSIVE,
                text("vCPU ", cpu, " was on its CPU of the host for ", formatNumber(100 * share),
                     " % of the time, although it never leaves it of its own accord"),
                "see what else runs on the CPUs of performance.cpus in the record (isolcpus=, irqaffinity=)");
    finding.cpu = static_cast<int32_t>(cpu);
    finding.value = 100 * share;
    finding.limit = 100 * leastShare;
    findings.add(std::move(finding));
  }
}

}  // namespace ktstr
