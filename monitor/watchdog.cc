#include "monitor/watchdog.h"

#include <cmath>

#include "monitor/kernel_fields.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr double lowestHertz = 100, highestHertz = 1000;

}  // namespace

Watchdog::Watchdog(const GuestKernel& kernel, const KernelLayout& layout, uint64_t wantedMs)
    : kernel_(kernel),
      root_(kernel.symbol("scx_root")),
      timeout_(kernel.symbol("scx_watchdog_timeout")),
      timestamp_(kernel.symbol("scx_watchdog_timestamp")),
      interval_(kernel.symbol("scx_watchdog_interval")),
      jiffies_(kernel.symbol("jiffies_64")) {
  if (const auto field = layout.member("scx_sched.watchdog_timeout")) field_ = field->offset;
  place_ = field_ ? "scx_sched.watchdog_timeout" : "scx_watchdog_timeout";
  const double hertz = std::round(1000 / jiffyMs(KernelFields(kernel, layout)).value_or(1e9));
  if (!root_ || !timestamp_ || !jiffies_)
    absent_ = "scx_root, scx_watchdog_timestamp or jiffies_64: no such symbol";
  else if (!field_ && !timeout_)
    absent_ = text("scx_watchdog_timeout: no such symbol; ", layout.whyAbsent("scx_sched.watchdog_timeout"));
  else if (hertz < lowestHertz || hertz > highestHertz)
    absent_ = text("clocksource_jiffies does not tell how long a tick is: ", hertz, " a second");
  hertz_ = static_cast<uint64_t>(hertz);
  wanted_ = wantedMs * hertz_ / 1000;
}

std::optional<Watchdog::Now> Watchdog::now() const {
  if (!absent_.empty()) return std::nullopt;
  const auto scheduler = kernel_.read<uint64_t>(*root_), jiffies = kernel_.read<uint64_t>(*jiffies_);
  if (!scheduler || *scheduler == 0 || !jiffies) return std::nullopt;
  return Now{*scheduler, field_ ? *scheduler + *field_ : *timeout_, *jiffies};
}

std::optional<uint64_t> Watchdog::timeoutMs() const {
  const auto at = now();
  const auto timeout = at ? kernel_.read<uint64_t>(at->address) : std::nullopt;
  return timeout ? std::optional(*timeout / hertz_ * 1000 + *timeout % hertz_ * 1000 / hertz_) : std::nullopt;
}

std::optional<Watchdog::Plan> Watchdog::plan() const {
  const auto at = now();
  if (!at) return std::nullopt;
  const auto timeout = kernel_.read<uint64_t>(at->address), stamp = kernel_.read<uint64_t>(*timestamp_);
  if (!timeout || !stamp) return std::nullopt;
  const bool set = *timeout != wanted_;
  const bool awaited = lastTimestamp_ && *stamp == *lastTimestamp_ && at->jiffies < freshUntil_;
  if (!set && !awaited) return std::nullopt;
  Plan plan{at->scheduler, at->jiffies, set, timeoutMs().value_or(0), {{*timestamp_, at->jiffies}}};
  if (set) plan.words.push_back({at->address, wanted_});
  if (set && interval_) plan.words.push_back({*interval_, wanted_ / 2});
  return plan;
}

void Watchdog::written(const Plan& plan) {
  lastTimestamp_ = plan.words.front().value;
  if (plan.timeout) freshUntil_ = plan.jiffies + plan.beforeMs / 2 * hertz_ / 1000;
}

}  // namespace ktstr
