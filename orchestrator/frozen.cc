#include "orchestrator/frozen.h"

#include <algorithm>
#include <limits>
#include <set>

#include "guest/scenario/operations.h"

namespace ktstr {
namespace {

constexpr uint64_t stillFrozen = std::numeric_limits<uint64_t>::max();

bool isAtOrBelow(const std::string& path, const std::string& ancestor) {
  return path == ancestor || path.starts_with(ancestor + "/");
}

}  // namespace

FrozenTimes::FrozenTimes(rpc::Scenario::Reader scenario, std::span<const rpc::GuestEvent::Reader> events) {
  for (const auto& event : events) {
    if (event.isStepEnded()) thaw(std::nullopt, event.getAtNs());
    if (!event.isOpApplied()) continue;
    const auto applied = event.getOpApplied();
    if (const auto op = operationAt(scenario, applied.getStep(), applied.getOp()))
      apply(*op, event.getAtNs());
  }
}

void FrozenTimes::apply(rpc::Op::Reader op, uint64_t atNs) {
  if (op.isFreezeCgroup()) times_.push_back({op.getFreezeCgroup(), atNs, stillFrozen});
  if (op.isUnfreezeCgroup()) thaw(std::string(op.getUnfreezeCgroup()), atNs);
  if (op.isStopCgroup()) thaw(std::string(op.getStopCgroup()), atNs);
  if (op.isRemoveCgroup()) thaw(std::string(op.getRemoveCgroup()), atNs);
  if (op.isMoveAllTasks()) moves_.emplace_back(op.getMoveAllTasks().getFrom(), op.getMoveAllTasks().getTo());
}

// Of a cgroup, or all.
void FrozenTimes::thaw(const std::optional<std::string>& cgroup, uint64_t atNs) {
  for (Time& time : times_) {
    if (time.toNs == stillFrozen && (!cgroup || time.cgroup == *cgroup)) time.toNs = atNs;
  }
}

uint64_t FrozenTimes::frozenNs(const std::string& cgroup, uint64_t fromNs, uint64_t toNs) const {
  std::set<std::string> places = {cgroup};
  for (const auto& [from, to] : moves_) {
    if (places.contains(from)) places.insert(to);
  }
  uint64_t most = 0;
  for (const Time& time : times_) {
    const auto concerns = [&](const std::string& place) { return isAtOrBelow(place, time.cgroup); };
    if (std::none_of(places.begin(), places.end(), concerns)) continue;
    const uint64_t from = std::max(fromNs, time.fromNs), to = std::min(toNs, time.toNs);
    if (to > from) most += to - from;
  }
  return std::min(most, toNs - std::min(fromNs, toNs));
}

}  // namespace ktstr
