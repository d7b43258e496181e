#include "orchestrator/scx_rate.h"

#include <utility>

namespace ktstr {

void ScxRate::find(rpc::Attached::Reader attached) {
  const auto names = attached.getScxEventNames();
  for (unsigned i = 0; i < names.size(); ++i) {
    if (event_ == names[i].cStr()) index_ = i;
  }
}

std::optional<double> ScxRate::next(rpc::Sample::Reader sample) {
  const auto before = std::exchange(last_, sum(sample));
  const uint64_t beforeAtNs = std::exchange(lastAtNs_, sample.getAtNs());
  if (!before || !last_ || *last_ < *before || lastAtNs_ <= beforeAtNs) return std::nullopt;
  return static_cast<double>(*last_ - *before) / (static_cast<double>(lastAtNs_ - beforeAtNs) / 1e9);
}

std::optional<uint64_t> ScxRate::sum(rpc::Sample::Reader sample) const {
  if (!index_ || sample.getCpus().size() == 0) return std::nullopt;
  uint64_t sum = 0;
  for (const auto cpu : sample.getCpus()) {
    if (cpu.getScxEvents().size() <= *index_) return std::nullopt;
    sum += cpu.getScxEvents()[*index_];
  }
  return sum;
}

}  // namespace ktstr
