#include "monitor/task_list.h"

#include <algorithm>
#include <cstring>

#include "monitor/guest_list.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxCommBytes = 16;
constexpr uint64_t pieceBytes = 4096;  // of a task_struct, looked at in one go

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

// A task_struct: its address, and where it is on the host if it is all in one piece there.
struct Place {
  uint64_t address;
  const std::byte* host;
};

// A member of task_struct, looked up once for all tasks.
template <typename T>
class Member {
 public:
  Member(const GuestKernel& kernel, const KernelLayout& layout, std::string_view name)
      : kernel_(kernel), field_(layout.member(name)) {
    if (field_ && field_->size != sizeof(T)) field_.reset();
  }
  std::optional<T> of(uint64_t address) const {
    return field_ ? kernel_.read<T>(address + field_->offset) : std::nullopt;
  }
  std::optional<T> of(const Place& task) const {
    const bool there = task.host && field_ && field_->offset + sizeof(T) <= pieceBytes;
    return there ? std::optional(loadGuest<T>(task.host + field_->offset)) : of(task.address);
  }

 private:
  const GuestKernel& kernel_;
  std::optional<Field> field_;
};

class Tasks {
 public:
  Tasks(const GuestKernel& kernel, const KernelLayout& layout) : kernel_(kernel), layout_(layout) {
    for (const auto* const name : {"ext", "fair", "rt", "dl", "stop", "idle"})
      classes_.emplace_back(kernel.symbol(text(name, "_sched_class")).value_or(0), name);
  }

  Walk<TaskInfo> list(size_t limit) {
    Walk<TaskInfo> result;
    const auto init = kernel_.symbol("init_task");
    if (!init) result.problem = "no symbol init_task";
    for (const char* const name :
         {"task_struct.tasks", "task_struct.thread_node", "task_struct.signal", "signal_struct.thread_head",
          "task_struct.pid", "task_struct.tgid", "task_struct.__state"}) {
      if (result.problem.empty() && !layout_.member(name)) result.problem = layout_.whyAbsent(name);
    }
    if (!result.problem.empty()) return result;
    const auto tasks = layout_.member("task_struct.tasks"),
               thread = layout_.member("task_struct.thread_node"),
               threads = layout_.member("signal_struct.thread_head");
    const auto leaders = walkList(kernel_, *init + tasks->offset, limit);
    result.problem = leaders.problem;
    result.found.reserve(leaders.found.size());
    size_t left = limit;  // threads to be looked at
    for (const uint64_t node : leaders.found) {
      const auto signal = signal_.of(node - tasks->offset);
      const auto own = walkList(kernel_, signal.value_or(0) + threads->offset, left);
      left -= own.found.size();
      if (result.problem.empty() && !own.problem.empty())
        result.problem = text("threads of the process at ", hex(node - tasks->offset), ": ", own.problem);
      for (const uint64_t other : own.found) {
        if (read(other - thread->offset, result.found.emplace_back())) continue;
        result.found.pop_back();
        if (result.problem.empty())
          result.problem = text("the task at ", hex(other - thread->offset), " is not in memory");
      }
      if (left == 0) break;
    }
    return result;
  }

 private:
  template <typename T>
  Member<T> member(std::string_view name) const {
    return {kernel_, layout_, name};
  }

  // False if it is not in memory.
  bool read(uint64_t address, TaskInfo& task) const {
    const Place place{address, kernel_.at(address, pieceBytes)};
    const auto pid = pid_.of(place), tgid = tgid_.of(place);
    const auto state = state_.of(place);
    if (!pid || !tgid || !state) return false;
    task.address = address;
    task.pid = *pid;
    task.tgid = *tgid;
    task.state = stateName(*state | exitState_.of(place).value_or(0));
    task.comm = comm(place);
    task.cpu = cpu_.of(place);
    task.priority = priority_.of(place);
    if (const auto parent = parent_.of(place)) task.parent = tgid_.of(*parent);
    task.schedClass = schedClass(class_.of(place).value_or(0));
    task.scxWeight = weight_.of(place);
    task.scxFlags = flags_.of(place);
    task.scxSlice = slice_.of(place);
    task.scxVtime = vtime_.of(place);
    return true;
  }

  std::string comm(const Place& task) const {
    if (!comm_) return {};
    const size_t size = std::min<size_t>(comm_->size, maxCommBytes);
    std::string name;
    if (task.host && comm_->offset + size <= pieceBytes) {
      const auto* const text = reinterpret_cast<const char*>(task.host + comm_->offset);
      name.assign(text, strnlen(text, size));
    } else {
      name = kernel_.string(task.address + comm_->offset, size).value_or("");
    }
    for (char& c : name) c = c < ' ' || c > '~' ? '?' : c;
    return name;
  }

  // By address: a class may have more than one symbol.
  std::string schedClass(uint64_t address) const {
    for (const auto& [own, name] : classes_) {
      if (own == address && own != 0) return name;
    }
    return {};
  }

  const GuestKernel& kernel_;
  const KernelLayout& layout_;
  std::vector<std::pair<uint64_t, const char*>> classes_;
  std::optional<Field> comm_ = layout_.member("task_struct.comm");
  Member<int32_t> pid_ = member<int32_t>("task_struct.pid"), tgid_ = member<int32_t>("task_struct.tgid"),
                  priority_ = member<int32_t>("task_struct.prio");
  Member<uint32_t> state_ = member<uint32_t>("task_struct.__state"),
                   exitState_ = member<uint32_t>("task_struct.exit_state"),
                   cpu_ = member<uint32_t>("task_struct.thread_info.cpu"),
                   weight_ = member<uint32_t>("task_struct.scx.weight"),
                   flags_ = member<uint32_t>("task_struct.scx.flags");
  Member<uint64_t> signal_ = member<uint64_t>("task_struct.signal"),
                   parent_ = member<uint64_t>("task_struct.real_parent"),
                   class_ = member<uint64_t>("task_struct.sched_class"),
                   slice_ = member<uint64_t>("task_struct.scx.slice"),
                   vtime_ = member<uint64_t>("task_struct.scx.dsq_vtime");
};

}  // namespace

Walk<TaskInfo> listTasks(const GuestKernel& kernel, const KernelLayout& layout, size_t limit) {
  return Tasks(kernel, layout).list(limit);
}

}  // namespace ktstr
