#include "monitor/sched_domains.h"

#include <algorithm>

#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxNameBytes = 32, maxNames = 64;
// How the members are called that count, or are told of, what balancing did (CONFIG_SCHEDSTATS; newidle_*).
constexpr std::string_view statPrefixes[] = {"lb_", "alb_", "sbe_", "sbf_", "ttwu_", "newidle_"};
// Those that a sample has members of its own for.
constexpr std::string_view ownMembers[] = {"lb_count", "lb_failed", "ttwu_move_affine"};

bool isStat(std::string_view member) {
  return std::any_of(std::begin(statPrefixes), std::end(statPrefixes),
                     [&](std::string_view prefix) { return member.starts_with(prefix); }) &&
         std::find(std::begin(ownMembers), std::end(ownMembers), member) == std::end(ownMembers);
}

enum Member { parent, level, name, flags, spanWeight, balanceInterval, balanceFailed, newidleCost };

}  // namespace

SchedDomains::SchedDomains(const GuestKernel& kernel, const KernelLayout& layout)
    : kernel_(kernel),
      members_(findGroup(layout, "scheduling domains",
                         {"sched_domain.parent", "sched_domain.level", "sched_domain.name",
                          "sched_domain.flags", "sched_domain.span_weight", "sched_domain.balance_interval",
                          "sched_domain.nr_balance_failed", "sched_domain.max_newidle_lb_cost", "rq.sd"})),
      count_(layout.member("sched_domain.lb_count")),
      failed_(layout.member("sched_domain.lb_failed")),
      moveAffine_(layout.member("sched_domain.ttwu_move_affine")) {
  if (!members_.absent.empty()) {
    absent_.push_back(members_.absent);
    return;
  }
  members_.fields.pop_back();  // rq.sd, which the sampler reads
  for (const auto& field : members_.fields) bytes_ = std::max(bytes_, field.offset + field.size);
  for (const auto& [place, member] : {std::pair{&count_, "sched_domain.lb_count"},
                                      {&failed_, "sched_domain.lb_failed"},
                                      {&moveAffine_, "sched_domain.ttwu_move_affine"}}) {
    if (*place) {
      bytes_ = std::max(bytes_, (*place)->offset + (*place)->size);
    } else {
      absent_.push_back(text("statistics of scheduling domains: ", layout.whyAbsent(member)));
    }
  }
  if (count_ && failed_) idleTypes_ = std::min<size_t>({count_->size / 4, failed_->size / 4, maxIdleTypes});
  findStats(layout);
}

void SchedDomains::findStats(const KernelLayout& layout) {
  for (const auto& [name, field] : layout.members("sched_domain")) {
    const uint32_t elements = field.size / 4;
    if (!isStat(name) || field.size % 4 != 0 || elements == 0 || elements > maxIdleTypes) continue;
    if (statNames_.size() + elements > maxStats) break;
    for (uint32_t i = 0; i < elements; ++i) {
      statNames_.push_back(elements == 1 ? name : text(name, "[", i, "]"));
      statOffsets_.push_back(field.offset + 4 * i);
    }
    bytes_ = std::max(bytes_, field.offset + field.size);
  }
  const auto missing = [&](std::string_view prefix, const char* what) {
    if (std::none_of(statNames_.begin(), statNames_.end(),
                     [&](const std::string& name) { return name.starts_with(prefix); }))
      absent_.push_back(text(what, ": sched_domain has no members ", prefix, "*"));
  };
  missing("alb_", "statistics of scheduling domains");
  missing("newidle_", "newidle ratio of scheduling domains");
}

bool SchedDomains::sample(size_t which, uint64_t lowest, rpc::CpuSample::Builder out) {
  if (bytes_ == 0 || !walk(lowest)) return true;
  if (which >= last_.size()) last_.resize(which + 1);
  auto& last = last_[which];
  if (last == found_) return true;
  if (remembered_ - last.size() + found_.size() > maxDomains) return false;
  remembered_ = remembered_ - last.size() + found_.size();
  last = found_;
  write(found_, out);
  return true;
}

// False if what is there is no tree, or no longer.
bool SchedDomains::walk(uint64_t lowest) {
  found_.clear();
  for (uint64_t next = lowest; next != 0; next = found_.back().values[parent]) {
    const bool seen = std::any_of(found_.begin(), found_.end(),
                                  [&](const Domain& domain) { return domain.address == next; });
    const auto domain = seen || found_.size() == maxLevels ? std::nullopt : read(next);
    if (!domain) return false;
    found_.push_back(*domain);
  }
  return true;
}

std::optional<SchedDomains::Domain> SchedDomains::read(uint64_t address) const {
  const auto* const at = kernel_.at(address, bytes_);
  if (!at) return std::nullopt;
  Domain domain;
  domain.address = address;
  for (size_t i = 0; i < members_.fields.size(); ++i) domain.values[i] = members_.load(at, i);
  for (size_t i = 0; i < idleTypes_; ++i) {
    domain.count[i] = loadGuest<uint32_t>(at + count_->offset + 4 * i);
    domain.failed[i] = loadGuest<uint32_t>(at + failed_->offset + 4 * i);
  }
  if (moveAffine_ && moveAffine_->size == 4)
    domain.moveAffine = loadGuest<uint32_t>(at + moveAffine_->offset);
  for (size_t i = 0; i < statOffsets_.size(); ++i)
    domain.stats[i] = loadGuest<uint32_t>(at + statOffsets_[i]);
  const uint64_t span = domain.values[spanWeight];
  if (span == 0 || span > maxGuestCpus || domain.values[level] >= 2 * maxLevels) return std::nullopt;
  return domain;
}

void SchedDomains::write(const std::vector<Domain>& domains, rpc::CpuSample::Builder out) {
  auto list = out.initDomains(static_cast<unsigned>(domains.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const auto& values = domains[i].values;
    auto domain = list[i];
    domain.setLevel(static_cast<uint32_t>(values[level]));
    domain.setName(nameAt(values[name]));
    domain.setFlags(static_cast<uint32_t>(values[flags]));
    domain.setSpanWeight(static_cast<uint32_t>(values[spanWeight]));
    domain.setBalanceInterval(values[balanceInterval]);
    domain.setNrBalanceFailed(static_cast<uint32_t>(values[balanceFailed]));
    domain.setMaxNewidleLbCostNs(values[newidleCost]);
    auto count = domain.initLbCount(static_cast<unsigned>(idleTypes_));
    auto failed = domain.initLbFailed(static_cast<unsigned>(idleTypes_));
    for (unsigned type = 0; type < idleTypes_; ++type) {
      count.set(type, domains[i].count[type]);
      failed.set(type, domains[i].failed[type]);
    }
    domain.setTtwuMoveAffine(domains[i].moveAffine);
    auto stats = domain.initStats(static_cast<unsigned>(statNames_.size()));
    for (unsigned which = 0; which < stats.size(); ++which) stats.set(which, domains[i].stats[which]);
  }
}

const std::string& SchedDomains::nameAt(uint64_t address) {
  const auto known = names_.find(address);
  if (known != names_.end()) return known->second;
  if (names_.size() == maxNames) names_.clear();
  std::string text = kernel_.string(address, maxNameBytes).value_or("");
  for (char& c : text) c = c < ' ' || c > '~' ? '?' : c;
  return names_[address] = text;
}

}  // namespace ktstr
