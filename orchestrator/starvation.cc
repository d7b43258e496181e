#include "orchestrator/starvation.h"

#include <algorithm>
#include <set>

#include "orchestrator/judge_parts.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

// Adds the part of a stretch that lies in the window.
void addPart(HostLack& lack, const Starvation& stretch, const Window& window) {
  const double from = std::max(stretch.fromMs, window.fromMs), to = std::min(stretch.toMs, window.toMs);
  if (to <= from) return;
  lack.fromMs = lack.lostMs == 0 ? from : std::min(lack.fromMs, from);
  lack.toMs = lack.lostMs == 0 ? to : std::max(lack.toMs, to);
  lack.lostMs += to - from;
  lack.hostMs += stretch.hostMs * (to - from) / (stretch.toMs - stretch.fromMs);
}

}  // namespace

void addStarvation(std::vector<Starvation>& list, const Starvation& next) {
  const auto same =
      std::find_if(list.rbegin(), list.rend(), [&](const Starvation& s) { return s.cpu == next.cpu; });
  if (same == list.rend() || same->toMs < next.fromMs) {
    list.push_back(next);
    return;
  }
  same->toMs = next.toMs;
  same->hostMs += next.hostMs;
}

std::string HostLack::describe() const {
  const std::string when =
      text(", between ", formatNumber(fromMs), " and ", formatNumber(toMs), " ms of the scenario");
  if (lostMs == 0) return "what the host gave the vCPUs meanwhile is not known";
  if (cpu < 0) return text("the host did not run the machine for ", formatMs(lostMs), when);
  return text("the host gave vCPU ", cpu, " only ", formatMs(hostMs), " of CPU time in ", formatMs(lostMs),
              " (", formatNumber(100 * hostMs / lostMs), " %)", when);
}

HostLack hostLackOf(const std::vector<Starvation>& list, int32_t cpu, Window window) {
  HostLack lack;
  lack.cpu = cpu;
  for (const Starvation& stretch : list) {
    if (stretch.cpu == cpu || stretch.cpu < 0) addPart(lack, stretch, window);
  }
  return lack;
}

HostLack hostLack(const std::vector<Starvation>& list, Window window) {
  std::set<int32_t> cpus;
  for (const Starvation& stretch : list) cpus.insert(stretch.cpu);
  HostLack worst;
  for (const int32_t cpu : cpus) {
    const HostLack lack = hostLackOf(list, cpu, window);
    if (lack.lostMs > worst.lostMs) worst = lack;
  }
  return worst;
}

std::vector<Starvation> within(const std::vector<Starvation>& list, Window window) {
  std::vector<Starvation> parts;
  for (const Starvation& stretch : list) {
    Starvation part = stretch;
    part.fromMs = std::max(part.fromMs, window.fromMs);
    part.toMs = std::min(part.toMs, window.toMs);
    if (part.toMs <= part.fromMs) continue;
    part.hostMs *= (part.toMs - part.fromMs) / (stretch.toMs - stretch.fromMs);
    parts.push_back(part);
  }
  return parts;
}

// No window has more than one that begins or ends with a stretch.
HostLack densestLack(const std::vector<Starvation>& list, double ms) {
  HostLack worst;
  for (const Starvation& stretch : list) {
    for (const Window window :
         {Window{stretch.fromMs, stretch.fromMs + ms}, Window{stretch.toMs - ms, stretch.toMs}}) {
      const HostLack lack = hostLack(list, window);
      if (lack.lostMs > worst.lostMs) worst = lack;
    }
  }
  return worst;
}

}  // namespace ktstr
