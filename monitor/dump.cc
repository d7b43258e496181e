#include "monitor/dump.h"

#include <algorithm>

#include "monitor/dump_parts.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

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
  if (list_.size() < dump_limits::absences && std::none_of(list_.begin(), list_.end(), same))
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
  source.jiffies = source.kernel().readSymbol<uint64_t>("jiffies_64").value_or(0);
  source.jiffyMs = jiffyMs(source.fields).value_or(0);
  source.scheduler = attachedScheduler(source.fields, absent);
  out.setJiffies(source.jiffies);
  CgroupPaths paths(source.fields);
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
  nameScheduler(parts_->source, parts_->trace, parts_->out);
  nameCpus(parts_->source, parts_->out);
  nameTasks(parts_->source, parts_->out);
  renderMaps(parts_->source, parts_->maps, parts_->out);
}

}  // namespace ktstr
