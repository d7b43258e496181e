#include "monitor/dump.h"

#include <algorithm>

#include "monitor/dump_parts.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

uint64_t deadline() {
  return monotonicNs() + uint64_t{dump_limits::seconds} * 1'000'000'000;
}

uint64_t attachedScheduler(const KernelFields& fields, Absences& absent) {
  const auto root = fields.kernel().symbol("scx_root");
  if (!root) return absent.add("scheduler", "no symbol scx_root"), 0;
  const auto scheduler = fields.kernel().read<uint64_t>(*root);
  if (!scheduler) return absent.add("scheduler", text("scx_root at ", hex(*root), " is not in memory")), 0;
  if (*scheduler == 0) absent.add("scheduler", "scx_root is null: no sched_ext scheduler is attached");
  return *scheduler;
}

}  // namespace

void Absences::add(std::string section, std::string reason) {
  const auto same = [&](const auto& other) { return other.first == section && other.second == reason; };
  if (list_.size() == dump_limits::absences || std::any_of(list_.begin(), list_.end(), same)) return;
  if (list_.size() + 1 == dump_limits::absences)
    section = "absent", reason = "there is more that is not there";
  list_.emplace_back(std::move(section), std::move(reason));
}

void Absences::fill(rpc::Dump::Builder out) const {
  auto absent = out.initAbsent(static_cast<unsigned>(list_.size()));
  for (unsigned i = 0; i < absent.size(); ++i) {
    absent[i].setSection(list_[i].first);
    absent[i].setReason(list_[i].second);
  }
}

struct KernelDump::Parts {
  Parts(const Attachment& attachment, rpc::Dump::Builder to, Absences& absent)
      : fields(*attachment.kernel, attachment.analysis->layout()),
        source{attachment, fields, absent, attachment.kernel->possibleCpus()},
        out(to) {}

  KernelFields fields;
  DumpSource source;
  rpc::Dump::Builder out;
  ExitTrace trace;
  MapCopies maps;
};

KernelDump::KernelDump(const Attachment& attachment, rpc::Dump::Builder out, Absences& absent)
    : parts_(std::make_unique<Parts>(attachment, out, absent)) {
  DumpSource& source = parts_->source;
  source.deadline = deadline();
  const auto jiffies = source.kernel().readSymbol<uint64_t>("jiffies_64");
  if (!jiffies) absent.add("jiffies", "no symbol jiffies_64, or not in memory");
  if (source.cpus.empty())
    absent.add("cpus", "no symbol __cpu_possible_mask, or it is empty or not in memory");
  source.jiffies = jiffies.value_or(0);
  source.jiffyMs = jiffyMs(source.fields).value_or(0);
  for (const char* const member : {"clocksource.mult", "clocksource.shift"}) {
    if (!source.layout().member(member)) absent.add("tick", source.layout().whyAbsent(member));
  }
  source.scheduler = attachedScheduler(source.fields, absent);
  out.setJiffies(source.jiffies);
  CgroupPaths paths(source);
  parts_->trace = copyScheduler(source, out);
  copyHierarchy(source, out.getScheduler());
  copyDsqs(source, out);
  copyCpus(source, out);
  copyTasks(source, paths, out);
  copyCgroups(source, paths, out);
  parts_->maps = copyMaps(source);
}

KernelDump::~KernelDump() = default;

void KernelDump::render() {
  parts_->source.deadline = deadline();
  nameScheduler(parts_->source, parts_->trace, parts_->out);
  nameCpus(parts_->source, parts_->out);
  nameTasks(parts_->source, parts_->out);
  renderMaps(parts_->source, parts_->maps, parts_->out);
}

}  // namespace ktstr
