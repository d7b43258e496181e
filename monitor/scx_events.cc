#include "monitor/scx_events.h"

#include <algorithm>

#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxCounters = 64;
constexpr uint32_t maxBytes = 4096;

}  // namespace

ScxEvents::ScxEvents(const Attachment& attachment) : kernel_(*attachment.kernel) {
  const auto& layout = attachment.analysis->layout();
  root_ = kernel_.symbol("scx_root");
  const auto perCpu = layout.member("scx_sched.pcpu"), inside = layout.member("scx_sched_pcpu.event_stats"),
             direct = layout.member("scx_sched.event_stats_cpu");
  if (root_ && perCpu && inside) {
    pointerField_ = perCpu->offset;
    inPerCpu_ = inside->offset;
  } else if (root_ && direct) {
    pointerField_ = direct->offset;
  } else {
    variable_ = kernel_.symbol("event_stats_cpu");
  }
  if (!pointerField_ && !variable_) {
    absent_ = text(
        "SCX_EV counters: none of scx_sched.pcpu->event_stats, scx_sched.event_stats_cpu and a "
        "per-CPU variable event_stats_cpu",
        root_ ? "" : "; no symbol scx_root");
    return;
  }
  for (const auto& [name, field] : layout.members("scx_event_stats")) {
    if (field.size != 8 || field.offset > maxBytes - 8 || names_.size() == maxCounters) continue;
    names_.push_back(name);
    offsets_.push_back(field.offset);
    bytes_ = std::max(bytes_, field.offset + 8);
  }
  if (names_.empty()) absent_ = "SCX_EV counters: no 8-byte members of a struct scx_event_stats";
}

std::optional<ScxEvents::Place> ScxEvents::locate() const {
  if (names_.empty()) return std::nullopt;
  if (variable_) return Place{0, *variable_};
  const auto scheduler = kernel_.read<uint64_t>(*root_);
  if (!scheduler || *scheduler == 0) return std::nullopt;
  const auto pointer = kernel_.read<uint64_t>(*scheduler + *pointerField_);
  if (!pointer || *pointer == 0) return std::nullopt;
  return Place{*scheduler, *pointer + inPerCpu_};
}

std::vector<uint64_t> ScxEvents::read(const Place& place, uint32_t cpu) const {
  const auto address = kernel_.perCpu(place.perCpu, cpu);
  const auto* const whole = address ? kernel_.at(*address, bytes_) : nullptr;
  std::vector<uint64_t> values;
  if (!address) return values;
  values.reserve(offsets_.size());
  for (const uint32_t offset : offsets_) {
    const auto value = whole ? std::optional(loadGuest<uint64_t>(whole + offset))
                             : kernel_.read<uint64_t>(*address + offset);
    if (!value || *value >> 63) return {};
    values.push_back(*value);
  }
  return values;
}

bool ScxEvents::holds(const Place& place) const {
  return place.scheduler == 0 || kernel_.read<uint64_t>(*root_) == place.scheduler;
}

}  // namespace ktstr
