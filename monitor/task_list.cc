#include "monitor/task_list.h"

#include <algorithm>

#include "monitor/guest_list.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxCommBytes = 16;

// TASK_* and EXIT_* of include/linux/sched.h; the first that fits counts.
constexpr struct {
  uint32_t mask, bits;
  const char* name;
} states[] = {{0xffff'ffff, 0, "running"}, {0x402, 0x402, "idle"}, {0x1, 0x1, "sleeping"},
              {0x2, 0x2, "disk sleep"},    {0x4, 0x4, "stopped"},  {0x8, 0x8, "traced"},
              {0x20, 0x20, "zombie"},      {0x10, 0x10, "dead"},   {0x80, 0x80, "dead"}};

std::string stateName(uint32_t state) {
  for (const auto& known : states) {
    if ((state & known.mask) == known.bits) return known.name;
  }
  return hex(state);
}

class Tasks {
 public:
  Tasks(const GuestKernel& kernel, const KernelLayout& layout) : kernel_(kernel), layout_(layout) {}

  Walk<TaskInfo> list(size_t limit) {
    Walk<TaskInfo> result;
    const auto init = kernel_.symbol("init_task");
    const auto tasks = layout_.member("task_struct.tasks"),
               thread = layout_.member("task_struct.thread_node"),
               threads = layout_.member("signal_struct.thread_head"), pid = layout_.member("task_struct.pid");
    if (!init || !tasks || !thread || !threads || !pid) {
      result.problem = init ? layout_.whyAbsent("task_struct.tasks") : "no symbol init_task";
      return result;
    }
    const auto leaders = walkList(kernel_, *init + tasks->offset, limit);
    result.problem = leaders.problem;
    for (const uint64_t node : leaders.found) {
      const auto signal = field<uint64_t>(node - tasks->offset, "task_struct.signal");
      const auto own = walkList(kernel_, signal.value_or(0) + threads->offset, limit - result.found.size());
      if (result.problem.empty() && !own.problem.empty())
        result.problem = text("threads of the process at ", hex(node - tasks->offset), ": ", own.problem);
      for (const uint64_t other : own.found) {
        if (auto task = read(other - thread->offset)) result.found.push_back(std::move(*task));
      }
      if (result.found.size() >= limit) break;
    }
    return result;
  }

 private:
  template <typename T>
  std::optional<T> field(uint64_t address, const char* name) const {
    const auto member = layout_.member(name);
    return member && member->size == sizeof(T) ? kernel_.read<T>(address + member->offset) : std::nullopt;
  }

  std::optional<TaskInfo> read(uint64_t address) const {
    const auto pid = field<int32_t>(address, "task_struct.pid"),
               tgid = field<int32_t>(address, "task_struct.tgid");
    const auto state = field<uint32_t>(address, "task_struct.__state");
    if (!pid || !tgid || !state) return std::nullopt;
    TaskInfo task;
    task.address = address;
    task.pid = *pid;
    task.tgid = *tgid;
    task.state = stateName(*state | field<uint32_t>(address, "task_struct.exit_state").value_or(0));
    task.comm = comm(address);
    task.cpu = field<uint32_t>(address, "task_struct.thread_info.cpu");
    task.priority = field<int32_t>(address, "task_struct.prio");
    if (const auto parent = field<uint64_t>(address, "task_struct.real_parent"))
      task.parent = field<int32_t>(*parent, "task_struct.tgid");
    task.schedClass = schedClass(field<uint64_t>(address, "task_struct.sched_class").value_or(0));
    task.scxWeight = field<uint32_t>(address, "task_struct.scx.weight");
    task.scxFlags = field<uint32_t>(address, "task_struct.scx.flags");
    task.scxSlice = field<uint64_t>(address, "task_struct.scx.slice");
    task.scxVtime = field<uint64_t>(address, "task_struct.scx.dsq_vtime");
    return task;
  }

  std::string comm(uint64_t address) const {
    const auto member = layout_.member("task_struct.comm");
    if (!member) return {};
    auto name =
        kernel_.string(address + member->offset, std::min<size_t>(member->size, maxCommBytes)).value_or("");
    for (char& c : name) c = c < ' ' || c > '~' ? '?' : c;
    return name;
  }

  // By address: a class may have more than one symbol.
  std::string schedClass(uint64_t address) const {
    for (const auto* const name : {"ext", "fair", "rt", "dl", "stop", "idle"}) {
      if (kernel_.symbol(text(name, "_sched_class")) == address) return name;
    }
    return {};
  }

  const GuestKernel& kernel_;
  const KernelLayout& layout_;
};

}  // namespace

Walk<TaskInfo> listTasks(const GuestKernel& kernel, const KernelLayout& layout, size_t limit) {
  return Tasks(kernel, layout).list(limit);
}

}  // namespace ktstr
