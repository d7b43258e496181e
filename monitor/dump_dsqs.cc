// The dispatch queues (struct scx_dispatch_q), with the tasks on them in the order in which they would run.
//
// A kernel has the scheduler's own in scx_sched.dsq_hash. The global ones are behind scx_sched.global_dsqs,
// an array of pointers by node, from 7.1 on within scx_sched.pnode[node]. Those of bypass mode, one for each
// CPU, are in scx_sched_pcpu from 7.0 on; before that bypassed tasks go to the global ones.
#include <algorithm>

#include "monitor/dump_parts.h"
#include "monitor/guest_list.h"
#include "monitor/guest_rhashtable.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint32_t maxNodes = 1024;  // MAX_NUMNODES

struct DsqPlace {
  rpc::DsqKind kind;
  uint64_t address;
  int32_t cpu = -1, node = -1;
  std::optional<uint64_t> id = {};  // of those of the scheduler, which are in its order
};

class DsqSection {
 public:
  explicit DsqSection(const DumpSource& source)
      : source_(source), fields_(source.fields), members_(source, "dsqs") {}

  void copy(rpc::Dump::Builder out) {
    locals();
    if (source_.scheduler != 0) {
      bypasses();
      globals();
      users();
    } else {
      source_.absent.add("dsqs", "no scheduler is attached: only the CPUs' own are there");
    }
    auto list = out.initDsqs(static_cast<unsigned>(places_.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      const DsqPlace& place = places_[i];
      list[i].setKind(place.kind);
      list[i].setCpu(place.cpu);
      list[i].setNode(place.node);
      list[i].setAddress(place.address);
      if (source_.hasTime("dsqs"))
        fill(place.address, list[i]);
      else
        members_.gap("there was no time for it");
      list[i].setIncomplete(members_.takeIncomplete());
    }
  }

 private:
  void locals() {
    const auto runqueues = source_.kernel().symbol("runqueues");
    const auto local = source_.layout().member("rq.scx.local_dsq");
    if (!runqueues || !local)
      return source_.absent.add(
          "dsqs local", runqueues ? source_.layout().whyAbsent("rq.scx.local_dsq") : "no symbol runqueues");
    for (const uint32_t cpu : source_.cpus) {
      if (const auto rq = source_.kernel().perCpu(*runqueues, cpu))
        places_.push_back({rpc::DsqKind::LOCAL, *rq + local->offset, static_cast<int32_t>(cpu)});
      else
        source_.absent.add("dsqs local", text("CPU ", cpu, " has no runqueue"));
    }
  }

  void bypasses() {
    const auto inPart = source_.layout().member("scx_sched_pcpu.bypass_dsq");
    const auto part = fields_.get<uint64_t>(source_.scheduler, "scx_sched.pcpu");
    if (!inPart || !part)
      return source_.absent.add("dsqs bypass", source_.layout().whyAbsent("scx_sched_pcpu.bypass_dsq"));
    for (const uint32_t cpu : source_.cpus) {
      if (const auto own = source_.kernel().perCpu(*part, cpu))
        places_.push_back({rpc::DsqKind::BYPASS, *own + inPart->offset, static_cast<int32_t>(cpu)});
    }
  }

  void globals() {
    const auto inNode = source_.layout().member("scx_sched_pnode.global_dsq");
    const auto byNode = fields_.get<uint64_t>(source_.scheduler, "scx_sched.pnode");
    const auto array =
        inNode && byNode ? byNode : fields_.get<uint64_t>(source_.scheduler, "scx_sched.global_dsqs");
    if (!array)
      return source_.absent.add("dsqs global", text("neither scx_sched.pnode nor ",
                                                    source_.layout().whyAbsent("scx_sched.global_dsqs")));
    const auto known = source_.kernel().readSymbol<uint32_t>("nr_node_ids");
    const uint32_t nodes = std::min(known.value_or(1), maxNodes);  // a constant where there can be one alone
    if (nodes < known.value_or(1))
      source_.absent.add("dsqs global",
                         text("nr_node_ids is ", *known, ", of which ", nodes, " were looked for"));
    for (uint32_t node = 0; node < nodes; ++node) {
      const auto pointer = source_.kernel().read<uint64_t>(*array + uint64_t{8} * node);
      if (!pointer) source_.absent.add("dsqs global", text("that of node ", node, " is not in memory"));
      if (pointer.value_or(0) != 0)
        places_.push_back({rpc::DsqKind::GLOBAL, *pointer + (inNode && byNode ? inNode->offset : 0), -1,
                           static_cast<int32_t>(node)});
    }
  }

  void users() {
    const auto table = fields_.at(source_.scheduler, "scx_sched.dsq_hash");
    const auto node = source_.layout().member("scx_dispatch_q.hash_node");
    if (!table || !node)
      return source_.absent.add(
          "dsqs user", source_.layout().whyAbsent(table ? "scx_dispatch_q.hash_node" : "scx_sched.dsq_hash"));
    const auto walk = walkRhashtable(source_.kernel(), source_.layout(), *table, dump_limits::dsqs);
    if (!walk.problem.empty()) source_.absent.add("dsqs user", walk.problem);
    const size_t first = places_.size();
    for (const uint64_t head : walk.found) {
      const uint64_t address = head - node->offset;
      const auto id = fields_.get<uint64_t>(address, "scx_dispatch_q.id");
      places_.push_back({rpc::DsqKind::USER, address, -1, -1, id});
    }
    std::sort(places_.begin() + static_cast<ptrdiff_t>(first), places_.end(),
              [](auto& a, auto& b) { return a.id < b.id; });
  }

  void fill(uint64_t dsq, rpc::DsqState::Builder out) {
    const auto nr = members_.get<uint32_t>(dsq, "scx_dispatch_q.nr");
    if (!nr) return members_.gap("it cannot be read");
    out.setNr(*nr);
    out.setSeq(members_.get<uint32_t>(dsq, "scx_dispatch_q.seq").value_or(0));
    out.setId(members_.get<uint64_t>(dsq, "scx_dispatch_q.id").value_or(0));
    fillTasks(dsq, out);
  }

  void fillTasks(uint64_t dsq, rpc::DsqState::Builder out) {
    const auto head = fields_.at(dsq, "scx_dispatch_q.list");
    const auto inTask = source_.layout().member("task_struct.scx.dsq_list.node"),
               node = source_.layout().member("scx_dsq_list_node.node");
    if (!head || !inTask || !node)
      return members_.gap(source_.layout().whyAbsent(!head     ? "scx_dispatch_q.list"
                                                     : !inTask ? "task_struct.scx.dsq_list.node"
                                                               : "scx_dsq_list_node.node"));
    const auto walk = walkList(source_.kernel(), *head, tasksLeft_);
    tasksLeft_ -= walk.found.size();
    if (!walk.problem.empty()) members_.gap(walk.problem);
    std::vector<uint64_t> tasks;
    for (const uint64_t link : walk.found) {
      const auto flags = members_.get<uint32_t>(link - node->offset, "scx_dsq_list_node.flags");
      if (flags.value_or(0) & 1) continue;  // SCX_DSQ_LNODE_ITER_CURSOR: where an iteration stands
      tasks.push_back(link - inTask->offset);
    }
    auto list = out.initTasks(static_cast<unsigned>(tasks.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setPid(members_.get<int32_t>(tasks[i], "task_struct.pid").value_or(0));
      list[i].setComm(members_.chars(tasks[i], "task_struct.comm"));
      list[i].setVtime(members_.get<uint64_t>(tasks[i], "task_struct.scx.dsq_vtime").value_or(0));
      list[i].setSliceNs(members_.get<uint64_t>(tasks[i], "task_struct.scx.slice").value_or(0));
    }
  }

  const DumpSource& source_;
  const KernelFields& fields_;
  MemberReader members_;
  std::vector<DsqPlace> places_;
  size_t tasksLeft_ = dump_limits::tasks;
};

}  // namespace

void copyDsqs(const DumpSource& source, rpc::Dump::Builder out) {
  DsqSection(source).copy(out);
}

}  // namespace ktstr
