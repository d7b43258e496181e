#include <bpf/btf.h>

#include <optional>
#include <sstream>
#include <stdexcept>

#include "monitor/test_kernel.h"
#include "protocol/text.h"

namespace ktstr::test {
namespace {

int must(int id) {
  if (id < 0) throw std::runtime_error(text("libbpf refuses: ", id));
  return id;
}

// Adds a struct with members {name, type id, byte offset}.
struct Member {
  const char* name;
  int type;
  uint32_t offset;
};
int addStruct(btf* types, const char* name, uint32_t size, const std::vector<Member>& members,
              bool isUnion = false) {
  const int id = must(isUnion ? btf__add_union(types, name, size) : btf__add_struct(types, name, size));
  for (const auto& member : members)
    must(btf__add_field(types, member.name, member.type, member.offset * 8, 0));
  return id;
}

// The types of the event counters; what points to them becomes a member of scx_sched.
void addEvents(btf* types, int u64, EventPlace place, std::vector<Member>& scheduler) {
  using namespace offsets;
  if (place == EventPlace::nowhere) return;
  const int stats =
      addStruct(types, "scx_event_stats", 16, {{"SCX_EV_B", u64, eventB}, {"SCX_EV_A", u64, eventA}});
  if (place == EventPlace::pointer) {
    scheduler.push_back({"event_stats_cpu", must(btf__add_ptr(types, stats)), scxSchedPerCpu});
  } else if (place == EventPlace::perCpuPart) {
    const int part = addStruct(types, "scx_sched_pcpu", 64, {{"event_stats", stats, perCpuEvents}});
    scheduler.push_back({"pcpu", must(btf__add_ptr(types, part)), scxSchedPerCpu});
  }
}

// Members of a runqueue that tell what it did, and the domains it points to.
void addStatistics(btf* types, int u32, int u64, std::vector<Member>& rq) {
  using namespace offsets;
  const int info = addStruct(types, "sched_info", 16, {{"pcount", u64, 0}, {"run_delay", u64, 8}});
  const int load = addStruct(types, "load_weight", 8, {{"weight", u64, 0}});
  const int cfs =
      addStruct(types, "cfs_rq", 24, {{"load", load, 0}, {"nr_queued", u32, 8}, {"h_nr_queued", u32, 12}});
  const int three = must(btf__add_array(types, u32, u32, 3));
  const int domain = addStruct(types, "sched_domain", domainBytes,
                               {{"parent", u64, domainParent},
                                {"level", u32, domainLevel},
                                {"flags", u32, 12},
                                {"span_weight", u32, domainSpan},
                                {"balance_interval", u32, 20},
                                {"nr_balance_failed", u32, 24},
                                {"max_newidle_lb_cost", u64, 32},
                                {"name", u64, domainName},
                                {"lb_count", three, domainCount},
                                {"lb_failed", three, domainCount + 12},
                                {"ttwu_move_affine", u32, domainCount + 24},
                                {"lb_gained", three, domainStats},
                                {"alb_count", u32, domainStats + 12},
                                {"newidle_ratio", u32, domainStats + 16}});
  for (const auto& [name, offset] : {std::pair{"yld_count", 0u},
                                     {"sched_count", 4u},
                                     {"sched_goidle", 8u},
                                     {"ttwu_count", 12u},
                                     {"ttwu_local", 16u}})
    rq.push_back({name, u32, rqSchedstat + offset});
  rq.push_back({"rq_sched_info", info, rqSchedInfo});
  rq.push_back({"rq_cpu_time", u64, rqCpuTime});
  rq.push_back({"cfs", cfs, rqCfs});
  rq.push_back({"sd", must(btf__add_ptr(types, domain)), rqDomain});
}

}  // namespace

namespace {

// A member, or a struct that has some: its place in the one around it.
struct Node {
  std::optional<std::pair<uint32_t, uint32_t>> place;  // offset from the outermost struct, bytes
  std::map<std::string, Node> inner;
};

// Returns the type of `node`, which begins at `begin`.
int addNode(btf* types, const std::string& name, const Node& node, uint32_t begin, int byte) {
  const uint32_t size = node.place ? node.place->second : 1 << 16;
  if (node.inner.empty()) {
    const bool isNumber = size == 1 || size == 2 || size == 4 || size == 8;
    return isNumber ? must(btf__add_int(types, text("u", 8 * size).c_str(), size, 0))
                    : must(btf__add_array(types, byte, byte, size));
  }
  std::vector<std::pair<std::string, int>> members;
  for (const auto& [own, member] : node.inner)
    members.emplace_back(own, addNode(types, "", member, member.place ? member.place->first : begin, byte));
  const int id = must(btf__add_struct(types, name.c_str(), size));
  for (const auto& [own, type] : members) {
    const auto& place = node.inner.at(own).place;
    must(btf__add_field(types, own.c_str(), type, place ? (place->first - begin) * 8 : 0, 0));
  }
  return id;
}

}  // namespace

void addLayout(btf* types, const std::string& layout) {
  std::map<std::string, Node> structs;
  std::istringstream lines(layout);
  std::string kind, path;
  for (uint32_t offset = 0, size = 0; lines >> kind >> path;) {
    if (kind != "member") {
      lines.ignore(1 << 16, '\n');
      continue;
    }
    lines >> offset >> size;
    if (path.find('#') != std::string::npos) continue;
    std::istringstream parts(path);
    std::string part;
    std::getline(parts, part, '.');
    Node* node = &structs[part];
    while (std::getline(parts, part, '.')) node = &node->inner[part];
    node->place = {offset, size};
  }
  const int byte = must(btf__add_int(types, "u8", 1, 0));
  for (const auto& [name, node] : structs) addNode(types, name, node, 0, byte);
}

std::vector<std::byte> makeBtf(bool withScx, EventPlace events, const std::function<void(btf*)>& first) {
  using namespace offsets;
  btf* const types = btf__new_empty();
  if (first) first(types);
  const int u32 = must(btf__add_int(types, "unsigned int", 4, 0));
  const int u64 = must(btf__add_int(types, "unsigned long long", 8, 0));
  const int character = must(btf__add_int(types, "char", 1, BTF_INT_CHAR));
  const int name16 = must(btf__add_array(types, u32, character, 16));
  const int name128 = must(btf__add_array(types, u32, character, 128));
  const int info = addStruct(types, "thread_info", 8, {{"flags", u64, 0}});
  const int task =
      addStruct(types, "task_struct", 64,
                {{"thread_info", info, taskFlags}, {"pid", u32, taskPid}, {"comm", name16, taskComm}});
  const int taskPointer = must(btf__add_ptr(types, must(btf__add_volatile(types, task))));
  const int currUnion = addStruct(types, "", 8, {{"donor", taskPointer, 0}, {"curr", taskPointer, 0}}, true);
  std::vector<Member> rq = {{"nr_running", u32, rqNrRunning}, {nullptr, currUnion, rqCurr}};
  if (withScx) {
    const int dsq = addStruct(types, "scx_dispatch_q", 32, {{"nr", u32, dsqNr}});
    const int typedefDsq = must(btf__add_typedef(types, "dsq_t", dsq));
    const int scx = addStruct(types, "scx_rq", 48,
                              {{"local_dsq", typedefDsq, scxLocalDsq},
                               {"nr_running", u32, scxNrRunning},
                               {"flags", u32, scxFlags}});
    rq.push_back({"scx", scx, rqScx});
    const int ops = addStruct(types, "sched_ext_ops", 168, {{"name", name128, opsName}});
    std::vector<Member> scheduler = {{"ops", ops, scxSchedOps}};
    addEvents(types, u64, events, scheduler);
    addStruct(types, "scx_sched", 256, scheduler);
    must(btf__add_enum(types, "scx_enable_state", 4));
    for (const auto& [name, value] :
         {std::pair{"SCX_ENABLING", 0}, {"SCX_ENABLED", 1}, {"SCX_DISABLING", 2}, {"SCX_DISABLED", 3}}) {
      must(btf__add_enum_value(types, name, value));
    }
  }
  rq.push_back({"clock", u64, rqClock});
  rq.push_back({"cpu", u32, rqCpu});
  addStatistics(types, u32, u64, rq);
  addStruct(types, "rq", rqBytes, rq);
  must(btf__add_struct(types, "with_bits", 8));
  must(btf__add_field(types, "narrow", u32, 3, 5));
  must(btf__add_field(types, "wide", u32, 32, 0));
  uint32_t size = 0;
  const auto* const raw = static_cast<const std::byte*>(btf__raw_data(types, &size));
  std::vector<std::byte> bytes(raw, raw + size);
  btf__free(types);
  return bytes;
}

}  // namespace ktstr::test
