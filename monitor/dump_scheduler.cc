// The state of sched_ext and of the attached scheduler; its exit info (struct scx_exit_info); event counters.
#include <algorithm>

#include "monitor/dump_parts.h"
#include "monitor/scx_events.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxReason = 256, maxMessage = 1024, maxKernelDump = 128 * 1024;  // SCX_EXIT_MSG_LEN: 1024
constexpr uint32_t maxTrace = 256;                                                // SCX_EXIT_BT_LEN: 64

// Lines stay lines.
std::string printableLines(std::string words) {
  for (char& c : words) c = c != '\n' && c != '\t' && (c < ' ' || c > '~') ? '?' : c;
  return words;
}

class SchedulerSection {
 public:
  SchedulerSection(const DumpSource& source, rpc::SchedulerState::Builder out)
      : source_(source), fields_(source.fields), out_(out), members_(source, "scheduler") {}

  ExitTrace copy() {
    copyState();
    if (source_.scheduler == 0) return {};
    const uint64_t scheduler = source_.scheduler;
    out_.setAddress(scheduler);
    out_.setOpsName(members_.chars(scheduler, "scx_sched.ops.name"));
    out_.setOpsFlags(members_.get<uint64_t>(scheduler, "scx_sched.ops.flags").value_or(0));
    out_.setAborting(members_.get<uint8_t>(scheduler, "scx_sched.aborting").value_or(0) != 0);
    auto trace = copyExit(scheduler);
    if (const auto gap = members_.takeIncomplete(); !gap.empty()) source_.absent.add("scheduler", gap);
    return trace;
  }

 private:
  void copyState() {
    const auto state = source_.kernel().readSymbol<int32_t>("scx_enable_state_var");
    for (const char* name : {"enabling", "enabled", "disabling", "disabled"}) {
      if (state && source_.layout().constant(text("scx_enable_state.", name)) == *state) out_.setState(name);
    }
    if (out_.getState().size() == 0)
      source_.absent.add("scheduler.state", state ? text("scx_enable_state_var is ", *state)
                                                  : "no symbol scx_enable_state_var, or not in memory");
    copyBypassDepth();
    copyWatchdog();
  }

  // In struct scx_sched, in older kernels in a variable.
  template <typename T>
  std::optional<T> inEither(const char* member, const char* variable) {
    const auto inside = source_.scheduler ? fields_.get<T>(source_.scheduler, member) : std::nullopt;
    const auto value = inside ? inside : source_.kernel().readSymbol<T>(variable);
    if (!value)
      source_.absent.add(
          text("scheduler.", member),
          text(source_.scheduler ? source_.layout().whyAbsent(member) : "no scheduler is attached",
               ", and no symbol ", variable));
    return value;
  }

  void copyBypassDepth() {
    if (const auto depth = inEither<int32_t>("scx_sched.bypass_depth", "scx_bypass_depth"))
      out_.setBypassDepth(*depth);
  }

  void copyWatchdog() {
    const auto jiffies = inEither<uint64_t>("scx_sched.watchdog_timeout", "scx_watchdog_timeout");
    if (!jiffies) return;
    if (source_.jiffyMs > 0)
      out_.setWatchdogTimeoutMs(static_cast<double>(*jiffies) * source_.jiffyMs);
    else
      source_.absent.add("scheduler.watchdogTimeoutMs",
                         "clocksource_jiffies does not tell how long a tick is");
  }

  // The kind is claimed in the scheduler first, then told in the exit info (scx_claim_exit()).
  ExitTrace copyExit(uint64_t scheduler) {
    auto exit = out_.initExit();
    const auto claimed = members_.get<int32_t>(scheduler, "scx_sched.exit_kind");
    const auto info = members_.get<uint64_t>(scheduler, "scx_sched.exit_info");
    const auto told =
        info.value_or(0) != 0 ? members_.get<int32_t>(*info, "scx_exit_info.kind") : std::nullopt;
    exit.setKind(told.value_or(0) != 0 ? *told : claimed.value_or(0));
    if (info && *info == 0) source_.absent.add("scheduler.exit", "scx_sched.exit_info is null");
    if (info.value_or(0) == 0) return {};
    exit.setExitCode(members_.get<int64_t>(*info, "scx_exit_info.exit_code").value_or(0));
    exit.setExitCpu(members_.get<int32_t>(*info, "scx_exit_info.exit_cpu").value_or(-1));
    exit.setReason(words(*info, "scx_exit_info.reason", maxReason));
    exit.setMessage(words(*info, "scx_exit_info.msg", maxMessage));
    exit.setDump(words(*info, "scx_exit_info.dump", maxKernelDump));
    return copyTrace(*info);
  }

  // What a char * leads to; a null pointer to nothing.
  std::string words(uint64_t info, const char* member, size_t limit) {
    const auto pointer = fields_.get<uint64_t>(info, member);
    if (!pointer) source_.absent.add("scheduler.exit", source_.layout().whyAbsent(member));
    if (pointer.value_or(0) == 0) return {};
    const auto found = source_.kernel().string(*pointer, limit);
    if (!found)
      source_.absent.add("scheduler.exit", text(member, " at ", hex(*pointer), " is no text of at most ",
                                                limit, " bytes in memory"));
    return printableLines(found.value_or(""));
  }

  ExitTrace copyTrace(uint64_t info) {
    ExitTrace trace;
    const auto list = members_.get<uint64_t>(info, "scx_exit_info.bt");
    const auto length = members_.get<uint32_t>(info, "scx_exit_info.bt_len").value_or(0);
    for (uint32_t i = 0; list && i < std::min(length, maxTrace); ++i) {
      const auto address = source_.kernel().read<uint64_t>(*list + uint64_t{8} * i);
      if (!address) break;
      trace.addresses.push_back(*address);
    }
    if (trace.addresses.size() < length)
      source_.absent.add("scheduler.exit.backtrace",
                         text(trace.addresses.size(), " of ", length, " addresses could be read"));
    return trace;
  }

  const DumpSource& source_;
  const KernelFields& fields_;
  rpc::SchedulerState::Builder out_;
  MemberReader members_;
};

std::string kindName(const DumpSource& source, int64_t kind) {
  for (const auto& [name, value] : source.layout().enumerators("scx_exit_kind")) {
    if (value == kind) return name;
  }
  return {};
}

void copyEvents(const DumpSource& source, rpc::Dump::Builder out) {
  const ScxEvents events(source.attachment);
  const auto place = events.locate();
  if (!place)
    return source.absent.add("events",
                             events.absent().empty() ? "no scheduler is attached" : events.absent());
  std::vector<uint64_t> sums(events.names().size());
  std::vector<uint32_t> unreadable;
  for (const uint32_t cpu : source.cpus) {
    const auto own = events.read(*place, cpu);
    if (own.empty()) unreadable.push_back(cpu);
    for (size_t i = 0; i < own.size(); ++i) sums[i] += own[i];
  }
  if (!unreadable.empty())
    source.absent.add("events", text("those of CPU ", cpuRanges(unreadable), " cannot be read"));
  auto list = out.initEvents(static_cast<unsigned>(sums.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setName(events.names()[i]);
    list[i].setCount(static_cast<int64_t>(sums[i]));
  }
}

}  // namespace

ExitTrace copyScheduler(const DumpSource& source, rpc::Dump::Builder out) {
  auto trace = SchedulerSection(source, out.initScheduler()).copy();
  copyEvents(source, out);
  return trace;
}

void nameScheduler(const DumpSource& source, const ExitTrace& trace, rpc::Dump::Builder out) {
  for (auto one : out.getScheduler().getHierarchy()) one.setExitKindName(kindName(source, one.getExitKind()));
  if (!out.getScheduler().hasExit()) return;
  auto exit = out.getScheduler().getExit();
  exit.setKindName(kindName(source, exit.getKind()));
  auto list = exit.initBacktrace(static_cast<unsigned>(trace.addresses.size()));
  for (unsigned i = 0; i < list.size(); ++i)
    list.set(i, source.kernel().symbolAt(trace.addresses[i]).value_or(hex(trace.addresses[i])));
}

}  // namespace ktstr
