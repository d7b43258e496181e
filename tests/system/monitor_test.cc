// What the monitor reads from a guest's memory is what the guest itself says.
#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <sstream>

#include "monitor/bpf_values.h"
#include "monitor/map_write_gate.h"
#include "monitor/sampler.h"
#include "monitor/task_list.h"
#include "protocol/dump.capnp.h"
#include "protocol/error.h"
#include "protocol/json.h"
#include "protocol/text.h"
#include "tests/system/core_expectations.h"
#include "tests/system/guest_shell.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

using ::testing::HasSubstr;
using Counters = std::map<std::string, uint64_t>;

std::string schedulerPath(const std::string& name) {
  const std::string path = ktstr({"scheduler", "path", name}).out;
  return path.substr(0, path.find('\n'));
}

// A guest that runs a scheduler, and the monitor's hold of its kernel.
class Watched {
 public:
  Watched(const std::string& kernel, const std::string& scheduler, const std::string& arguments = "")
      : guest({.kernel = kernel, .programs = {{"sched", schedulerPath(scheduler)}}}) {
    guest.run("sched " + arguments + " > /tmp/out 2>&1 & true");
    const std::string state = guest.run(
        "for i in $(seq 100); do grep -q enabled /sys/kernel/sched_ext/state && break; usleep 100000;"
        " done; cat /sys/kernel/sched_ext/state");
    if (state != "enabled\n") throw std::runtime_error("not attached: " + guest.run("cat /tmp/out"));
    Attacher attacher(guest.ram(), {}, {});
    attachment = attacher.attempt();
    if (!attachment) throw std::runtime_error(attacher.reason());
  }
  GuestShell guest;
  std::optional<Attachment> attachment;
};

// All CPUs' counters, by name.
Counters readCounters(Sampler& sampler) {
  capnp::MallocMessageBuilder message;
  auto sample = message.initRoot<rpc::Sample>();
  sampler.sample(sample);
  Counters sums;
  for (const auto cpu : sample.asReader().getCpus()) {
    EXPECT_EQ(cpu.getScxEvents().size(), sampler.scxEventNames().size());
    for (unsigned i = 0; i < cpu.getScxEvents().size(); ++i)
      sums[sampler.scxEventNames()[i]] += cpu.getScxEvents()[i];
  }
  return sums;
}

Counters parseCounters(const std::string& lines) {
  std::istringstream in(lines);
  Counters counters;
  std::string name;
  for (uint64_t value; in >> name >> value;) counters[name] = value;
  return counters;
}

// The guest's own numbers lie between what was read before and after.
void expectEventsOfTheGuest(Watched& watched) {
  Sampler sampler(*watched.attachment);
  const Counters before = readCounters(sampler);
  watched.guest.run("timeout 1 sh -c 'while :; do :; done'");
  const Counters own = parseCounters(watched.guest.run("cat /sys/kernel/sched_ext/root/events"));
  const Counters after = readCounters(sampler);
  EXPECT_EQ(own.size(), after.size());
  EXPECT_EQ(before.size(), after.size());
  for (const auto& [name, value] : own) {
    ASSERT_TRUE(after.contains(name)) << name;
    EXPECT_LE(before.at(name), value) << name;
    EXPECT_LE(value, after.at(name)) << name;
  }
  EXPECT_NE(before, after) << "a task alone on its CPU gets slice after slice";
}

// "key:<tab>value" lines of /proc/PID/fdinfo, one block for each descriptor that has `id` and `kind`: links
// have the id of their program, too.
std::map<uint32_t, Counters> descriptors(Watched& watched, const std::string& id, const std::string& kind) {
  std::istringstream in(
      watched.guest.run("for f in /proc/$(pidof sched)/fdinfo/*; do cat $f; echo end: 0; done"));
  std::map<uint32_t, Counters> all;
  Counters one;
  std::string name, value;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    words >> name >> value;
    if (name == "end:") {
      if (one.contains(id) && one.contains(kind)) all[static_cast<uint32_t>(one[id])] = one;
      one.clear();
    } else {
      one[name] = strtoull(value.c_str(), nullptr, 0);
    }
  }
  return all;
}

void expectMapsAndProgramsOfTheGuest(Watched& watched) {
  const BpfObjects objects(*watched.attachment->kernel, watched.attachment->analysis->layout());
  auto own = descriptors(watched, "map_id:", "map_type:");
  EXPECT_GE(own.size(), 3u);
  const auto maps = objects.maps();
  EXPECT_EQ(maps.problem, "");
  EXPECT_EQ(maps.found.size(), own.size());
  for (const auto& map : maps.found) {
    ASSERT_TRUE(own.contains(map.id)) << map.name;
    EXPECT_EQ(map.type, own[map.id]["map_type:"]) << map.name;
    EXPECT_EQ(map.keySize, own[map.id]["key_size:"]) << map.name;
    EXPECT_EQ(map.valueSize, own[map.id]["value_size:"]) << map.name;
    EXPECT_EQ(map.maxEntries, own[map.id]["max_entries:"]) << map.name;
    EXPECT_EQ(map.flags, own[map.id]["map_flags:"]) << map.name;
    EXPECT_EQ(map.frozen, own[map.id]["frozen:"] != 0) << map.name;
  }
  own = descriptors(watched, "prog_id:", "prog_type:");
  EXPECT_GE(own.size(), 3u);
  const auto programs = objects.programs();
  EXPECT_EQ(programs.problem, "");
  std::map<uint32_t, BpfProgram> byId;
  for (const auto& program : programs.found) byId[program.id] = program;
  for (auto& [id, fields] : own) {
    ASSERT_TRUE(byId.contains(id));
    EXPECT_EQ(byId[id].type, fields["prog_type:"]) << byId[id].name;
    EXPECT_EQ(byId[id].verifiedInstructions, fields["verified_insns:"]) << byId[id].name;
  }
}

// Thread ids and names.
std::map<int32_t, std::string> tasksSeen(Watched& watched) {
  const auto walk = listTasks(*watched.attachment->kernel, watched.attachment->analysis->layout(), 10'000);
  EXPECT_EQ(walk.problem, "");
  std::map<int32_t, std::string> tasks;
  for (const auto& task : walk.found) {
    tasks[task.pid] = task.comm;
    EXPECT_TRUE(task.schedClass == "ext" || task.schedClass == "fair" || task.schedClass == "stop" ||
                task.schedClass == "rt" || task.schedClass == "dl")
        << task.comm << ": " << task.schedClass;
  }
  return tasks;
}

// Who was there before and after is there for the guest; whom the guest sees was there before or after,
// unless it was the kernel's own.
void expectTasksOfTheGuest(Watched& watched) {
  const auto before = tasksSeen(watched);
  std::istringstream in(watched.guest.run(
      "for t in /proc/[0-9]*/task/*; do read -r c < $t/comm && echo \"${t##*/} $c\"; done"));
  const auto after = tasksSeen(watched);
  std::map<int32_t, std::string> own;
  std::string comm;
  for (int32_t pid = 0; in >> pid && std::getline(in >> std::ws, comm);) own[pid] = comm;
  EXPECT_GE(own.size(), 20u);
  for (const auto& [pid, name] : before) {
    EXPECT_TRUE(own.contains(pid) || !after.contains(pid)) << name;
  }
  for (const auto& [pid, name] : own) {
    if (name.starts_with("kworker")) continue;  // come and go, and have longer names in /proc
    ASSERT_TRUE(before.contains(pid) || after.contains(pid)) << name;
    EXPECT_EQ(after.contains(pid) ? after.at(pid) : before.at(pid), name.substr(0, 15));
  }
}

// The sum over all CPUs of one element of scx_simple's per-CPU array `stats`.
uint64_t simpleStat(Watched& watched, uint32_t index) {
  const auto& kernel = *watched.attachment->kernel;
  const auto& layout = watched.attachment->analysis->layout();
  const auto map = findMap(BpfObjects(kernel, layout).maps().found, "stats");
  const auto entries = readMapEntries(kernel, layout, map, 16);
  EXPECT_EQ(entries.problem, "");
  uint64_t sum = 0;
  for (const auto& value : entries.found.at(index).values) sum += loadGuest<uint64_t>(value.bytes.data());
  return sum;
}

// scx_simple prints "local=N global=M" once a second.
void expectValuesOfTheGuest(Watched& watched) {
  const uint64_t local = simpleStat(watched, 0), global = simpleStat(watched, 1);
  const std::string line = watched.guest.run(
      "n=$(grep -c = /tmp/out); while [ $(grep -c = /tmp/out) -lt $((n + 2)) ]; "
      "do usleep 50000; done; grep = /tmp/out | tail -n 1");
  unsigned long ownLocal = 0, ownGlobal = 0;
  ASSERT_EQ(sscanf(line.c_str(), "local=%lu global=%lu", &ownLocal, &ownGlobal), 2) << line;
  EXPECT_GT(ownLocal, 0u);
  EXPECT_LE(local, ownLocal);
  EXPECT_LE(global, ownGlobal);
  EXPECT_LE(ownLocal, simpleStat(watched, 0));
  EXPECT_LE(ownGlobal, simpleStat(watched, 1));
}

// What the executable prints of the same memory.
Result look(Watched& watched, const std::vector<std::string>& words) {
  std::vector<std::string> all = words;
  const Fd ram = watched.guest.ramFd();
  all.insert(all.end(), {"--ram", text("/proc/", getpid(), "/fd/", ram.get())});
  return ktstr(all, {.program = "ktstr-monitor"});
}

void expectToolsThatSaySo(Watched& watched) {
  EXPECT_THAT(look(watched, {"map", ".data", "uei.kind"}).out, HasSubstr(R"({"key":0,"value":)"));
  EXPECT_THAT(look(watched, {"map", "stats"}).out, HasSubstr(R"({"key":1,"cpu":1,"value":)"));
  EXPECT_EQ(look(watched, {"read", "*scx_root", "scx_sched", "ops.name"}).out.find(R"("value":"simple"})") ==
                std::string::npos,
            false);
  EXPECT_THAT(look(watched, {"tasks", "--format", "text"}).out, HasSubstr("kthreadd"));
  EXPECT_THAT(look(watched, {"events", "--format", "text"}).out, HasSubstr("SCX_EV_REFILL_SLICE_DFL"));
  EXPECT_THAT(look(watched, {"symbol", "scx_root"}).out, HasSubstr(R"("symbol":"scx_root"})"));
  EXPECT_THAT(look(watched, {"type", "task_struct", "--format", "text"}).out,
              HasSubstr("struct sched_ext_entity"));
  const Result unknown = look(watched, {"map", ".nothing"});
  EXPECT_EQ(unknown.exitCode, 2);
  EXPECT_THAT(unknown.err, HasSubstr("map-unknown"));
}

// All of the scheduler's state; the guest runs on meanwhile, so that only what stays is compared.
void expectDumpOfTheGuest(Watched& watched) {
  const Result result = look(watched, {"dump", "whole"});
  ASSERT_EQ(result.exitCode, 0) << result.err;
  capnp::MallocMessageBuilder message;
  fromJson(result.out, message.initRoot<rpc::Dump>());
  const auto dump = message.getRoot<rpc::Dump>().asReader();
  EXPECT_EQ(dump.getName(), "whole");
  const auto scheduler = dump.getScheduler();
  EXPECT_EQ(text(scheduler.getState().cStr(), "\n"), watched.guest.run("cat /sys/kernel/sched_ext/state"));
  EXPECT_THAT(watched.guest.run("cat /sys/kernel/sched_ext/root/ops"),
              ::testing::StartsWith(scheduler.getOpsName().cStr()));
  EXPECT_EQ(scheduler.getExit().getKindName(), "SCX_EXIT_NONE");
  EXPECT_EQ(scheduler.getWatchdogTimeoutMs(), 30'000);
  std::map<rpc::DsqKind, unsigned> kinds;
  for (const auto dsq : dump.getDsqs()) ++kinds[dsq.getKind()];
  const unsigned cpus = dump.getCpus().size();
  EXPECT_EQ(text(cpus, "\n"), watched.guest.run("nproc"));
  EXPECT_EQ(kinds[rpc::DsqKind::LOCAL], cpus);
  EXPECT_EQ(kinds[rpc::DsqKind::GLOBAL], 1u);
  EXPECT_EQ(kinds[rpc::DsqKind::USER], 1u);  // SHARED_DSQ
  EXPECT_TRUE(kinds[rpc::DsqKind::BYPASS] == 0 || kinds[rpc::DsqKind::BYPASS] == cpus);
  unsigned found = 0;
  for (const auto task : dump.getTasks()) {
    if (task.getComm() != "sched" || task.getPid() != task.getTgid()) continue;
    ++found;
    const std::string place = text("/proc/", task.getPid(), "/");
    EXPECT_EQ(text("0::", task.getCgroup().cStr(), "\n"), watched.guest.run("grep ^0 " + place + "cgroup"));
    EXPECT_EQ(text("Cpus_allowed_list:\t", task.getAllowed().cStr(), "\n"),
              watched.guest.run("grep Cpus_allowed_list " + place + "status"));
    EXPECT_EQ(task.getTaskState(), "ENABLED");
    EXPECT_EQ(task.getWeight(), 100u);
  }
  EXPECT_EQ(found, 1u);
  EXPECT_GT(dump.getTasks().size(), 20u);
  EXPECT_EQ(
      dump.getMaps().size(),
      BpfObjects(*watched.attachment->kernel, watched.attachment->analysis->layout()).maps().found.size());
  for (const auto absent : dump.getAbsent()) {
    EXPECT_THAT(
        absent.getSection().cStr(),
        ::testing::AnyOf(::testing::StrEq("schedulerStats"), ::testing::StrEq("registers"),
                         ::testing::StrEq("dsqs bypass"), ::testing::StrEq("scheduler.scx_sched.aborting")))
        << absent.getReason().cStr();
  }
}

rpc::WriteGate::Client gateFor(Watched& watched, const std::vector<PlannedMapWrite>& writes) {
  std::vector<WriteRange> ranges;
  for (const auto& piece : writes.front().pieces) ranges.push_back({piece.gpa, piece.size});
  return watched.guest.machine().writeGate(ranges).wait(watched.guest.io().waitScope);
}

// scx_simple ends when its exit information says that it was ended.
void expectWritesToTakeEffect(Watched& watched) {
  const auto& kernel = *watched.attachment->kernel;
  const auto& layout = watched.attachment->analysis->layout();
  const MapWrite code{".data", "uei.exit_code", "-77"}, kind{".data", "uei.kind", "1"};
  const auto plan = planMapWrites(kernel, layout, std::vector{code, kind});
  auto& scope = watched.guest.io().waitScope;
  EXPECT_THROW(writeMaps(scope, gateFor(watched, plan), plan), Error) << "the gate is for the first alone";
  EXPECT_EQ(readBack(kernel, plan[0]), plan[0].before) << "all or none";
  const auto one = planMapWrites(kernel, layout, std::vector{kind});
  writeMaps(scope, gateFor(watched, one), one);
  EXPECT_EQ(readBack(kernel, one[0]), one[0].bytes);
  EXPECT_EQ(
      watched.guest.run("for i in $(seq 100); do pidof sched > /dev/null || break; usleep 100000; done; "
                        "cat /sys/kernel/sched_ext/state"),
      "disabled\n");
  const BpfObjects objects(kernel, layout);
  for (int i = 0; i < 100 && !objects.maps().found.empty(); ++i) watched.guest.run("usleep 100000");
  EXPECT_TRUE(objects.maps().found.empty()) << "freed with their last user";
  EXPECT_TRUE(objects.programs().found.empty());
}

// What SeesWhatTheGuestSays leaves to DrgnListsTheSameTasks, by kernel.
std::map<std::string, GuestCore>& cores() {
  static std::map<std::string, GuestCore> all;
  return all;
}

// One kernel of each layout.
class MonitorKernels : public ::testing::TestWithParam<const char*> {};

TEST_P(MonitorKernels, SeesWhatTheGuestSays) {
  KTSTR_NEED_KERNEL(GetParam());
  KTSTR_NEED_SCHEDULER("scx_simple");
  std::optional<Watched> attached;
  try {
    attached.emplace(GetParam(), "scx_simple");
  } catch (const std::runtime_error& error) {
    if (std::string(error.what()).find("incompatible with vmlinux") == std::string::npos) throw;
    GuestShell guest({.kernel = GetParam()});
    expectSupportAsInReadme(guest, GetParam());
    cores()[GetParam()] = expectCoreOfTheGuest(guest);
    GTEST_SKIP() << "the kernel takes no scx_simple: " << error.what();
  }
  Watched& watched = *attached;
  expectEventsOfTheGuest(watched);
  expectMapsAndProgramsOfTheGuest(watched);
  expectTasksOfTheGuest(watched);
  expectValuesOfTheGuest(watched);
  expectToolsThatSaySo(watched);
  expectDumpOfTheGuest(watched);
  expectSupportAsInReadme(watched.guest, GetParam());
  cores()[GetParam()] = expectCoreOfTheGuest(watched.guest);
  expectWritesToTakeEffect(watched);
}

TEST_P(MonitorKernels, DrgnListsTheSameTasks) {
  if (const auto why = whyNoDrgn()) GTEST_SKIP() << *why;
  const auto core = cores().extract(GetParam());
  if (core.empty()) GTEST_SKIP() << "there is no core: SeesWhatTheGuestSays has not written one";
  expectDrgnToListTheSameTasks(core.mapped(), GetParam());
}

// KTSTR_TEST_ALL: every kernel that has sched_ext with struct scx_sched.
std::vector<const char*> kernels() {
  if (!getenv("KTSTR_TEST_ALL")) return {"debian:6.16", "debian:6.18", "debian:7.3"};
  return {"debian:6.16", "debian:6.17", "debian:6.18", "debian:6.19",
          "debian:7.0",  "debian:7.1",  "debian:7.2",  "debian:7.3"};
}

class SupportCommand : public ::testing::TestWithParam<const char*> {};

TEST_P(SupportCommand, BootsAKernelAndSaysWhatReadmeSays) {
  KTSTR_NEED_KERNEL(GetParam());
  const Result result = ktstr({"support", "--kernel", GetParam(), "--accel", "tcg", "--format", "jsonl"});
  EXPECT_EQ(result.exitCode, 0) << result.err;
  expectSupportAsInReadme(result.out, GetParam());
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SupportCommand);
INSTANTIATE_TEST_SUITE_P(OneMoreBoot, SupportCommand,
                         ::testing::ValuesIn(getenv("KTSTR_TEST_ALL") ? std::vector{"debian:6.17"}
                                                                      : std::vector<const char*>{}));

INSTANTIATE_TEST_SUITE_P(Layouts, MonitorKernels, ::testing::ValuesIn(kernels()));

}  // namespace
}  // namespace ktstr::testing
