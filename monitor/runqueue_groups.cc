#include "monitor/runqueue_groups.h"

namespace ktstr {
namespace {

template <size_t N>
std::optional<std::array<uint64_t, N>> readAll(const MemberGroup& group,
                                               const std::vector<const std::byte*>& places) {
  if (places.size() != N) return std::nullopt;
  std::array<uint64_t, N> values;
  for (size_t i = 0; i < N; ++i) values[i] = group.loadAt(places[i], i);
  return values;
}

}  // namespace

RunqueueGroups::RunqueueGroups(const KernelLayout& layout)
    : schedstat_(
          findGroup(layout, "schedstat",
                    {"rq.yld_count", "rq.sched_count", "rq.sched_goidle", "rq.ttwu_count", "rq.ttwu_local",
                     "rq.rq_sched_info.run_delay", "rq.rq_sched_info.pcount", "rq.rq_cpu_time"})),
      cfs_(findGroup(layout, "cfs",
                     {"rq.cfs.nr_queued", "|rq.cfs.nr_running", "rq.cfs.h_nr_queued", "|rq.cfs.h_nr_running",
                      "rq.cfs.load.weight"})) {}

std::vector<std::string> RunqueueGroups::absent() const {
  std::vector<std::string> list;
  for (const auto* group : {&schedstat_, &cfs_}) {
    if (!group->absent.empty()) list.push_back(group->absent);
  }
  return list;
}

RunqueueGroups::Places RunqueueGroups::locate(const GuestKernel& kernel, uint64_t runqueue) const {
  return {schedstat_.locate(kernel, runqueue), cfs_.locate(kernel, runqueue)};
}

RunqueueGroups::Values RunqueueGroups::read(const Places& places) const {
  return {readAll<8>(schedstat_, places.schedstat), readAll<3>(cfs_, places.cfs)};
}

void RunqueueGroups::write(const Values& values, uint32_t maxTasks, rpc::CpuSample::Builder out) {
  if (const auto& seen = values.schedstat) {
    auto schedstat = out.initSchedstat();
    schedstat.setYldCount(static_cast<uint32_t>((*seen)[0]));
    schedstat.setSchedCount(static_cast<uint32_t>((*seen)[1]));
    schedstat.setSchedGoidle(static_cast<uint32_t>((*seen)[2]));
    schedstat.setTtwuCount(static_cast<uint32_t>((*seen)[3]));
    schedstat.setTtwuLocal(static_cast<uint32_t>((*seen)[4]));
    schedstat.setRunDelayNs((*seen)[5]);
    schedstat.setPcount((*seen)[6]);
    schedstat.setCpuTimeNs((*seen)[7]);
  }
  const auto& queued = values.cfs;
  if (!queued || (*queued)[0] > maxTasks || (*queued)[1] > maxTasks) return;
  auto cfs = out.initCfs();
  cfs.setNrQueued(static_cast<uint32_t>((*queued)[0]));
  cfs.setHNrQueued(static_cast<uint32_t>((*queued)[1]));
  cfs.setLoadWeight((*queued)[2]);
}

}  // namespace ktstr
