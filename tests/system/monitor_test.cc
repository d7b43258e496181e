// What the monitor reads from a guest's memory is what the guest itself says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "monitor/bpf_values.h"
#include "monitor/map_write_gate.h"
#include "monitor/task_list.h"
#include "protocol/dump.capnp.h"
#include "protocol/error.h"
#include "protocol/json.h"
#include "protocol/text.h"
#include "tests/system/bpftool_expectations.h"
#include "tests/system/core_expectations.h"
#include "tests/system/guest_shell.h"
#include "tests/system/harness.h"
#include "tests/system/source_expectations.h"
#include "tests/system/statistics_expectations.h"
#include "tests/system/watched.h"

namespace ktstr::testing {
namespace {

using ::testing::HasSubstr;

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
  ASSERT_LE(scheduler.getHierarchy().size(), 1u) << "there is no sub-scheduler";
  for (const auto root : scheduler.getHierarchy()) {
    EXPECT_EQ(root.getAddress(), scheduler.getAddress());
    EXPECT_EQ(root.getOpsName(), scheduler.getOpsName());
    EXPECT_EQ(root.getCgroup(), "/");
    EXPECT_EQ(root.getExitKindName(), "SCX_EXIT_NONE");
  }
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
    EXPECT_THAT(absent.getSection().cStr(),
                ::testing::AnyOf(::testing::StrEq("schedulerStats"), ::testing::StrEq("registers"),
                                 ::testing::StrEq("dsqs bypass"), ::testing::StrEq("scheduler.hierarchy"),
                                 ::testing::StrEq("scheduler.scx_sched.aborting"),
                                 ::testing::StrEq("scheduler.scx_exit_info.exit_cpu")))
        << absent.getReason().cStr();
  }
}

rpc::WriteGate::Client gateFor(Watched& watched, const std::vector<PlannedMapWrite>& writes) {
  std::vector<WriteRange> ranges;
  for (const auto& piece : writes.front().pieces) ranges.push_back({piece.gpa, piece.size});
  return watched.guest.machine().writeGate(ranges, true).wait(watched.guest.io().waitScope);
}

// The executable at the sockets of the running machine.
Result atSockets(Watched& watched, std::vector<std::string> words, bool gate = false) {
  words.insert(words.end(), {"--vm", watched.directory.path() + "/observe.sock"});
  if (gate) words.insert(words.end(), {"--gate", watched.directory.path() + "/gate.sock"});
  return ktstr(words, {.program = "ktstr-monitor"});
}

// By ktstr-monitor, and by the front end, which becomes it.
void expectFrozenDumps(Watched& watched) {
  const Result dump = atSockets(watched, {"dump"});
  const Result snapshot = ktstr({"snapshot", "--vm", watched.directory.path() + "/observe.sock", "--name",
                                 "mine", "--format", "jsonl"});
  for (const Result* result : {&dump, &snapshot}) {
    ASSERT_EQ(result->exitCode, 0) << result->err;
    capnp::MallocMessageBuilder message;
    fromJson(result->out, message.initRoot<rpc::Dump>());
    const auto seen = message.getRoot<rpc::Dump>().asReader();
    EXPECT_EQ(seen.getName(), result == &dump ? "dump" : "mine");
    EXPECT_GT(seen.getFrozenNs(), 0u) << seen.getNotFrozen().cStr();
    EXPECT_GT(seen.getTasks().size(), 20u);
  }
  const Result dsqs = atSockets(watched, {"dsqs"});
  EXPECT_EQ(dsqs.exitCode, 0) << dsqs.err;
  for (const char* kind : {"local", "global"})
    EXPECT_THAT(dsqs.out, HasSubstr(text(R"({"kind":")", kind, '"')));
}

void expectFrozenLooks(Watched& watched) {
  const Result tasks = atSockets(watched, {"tasks", "--freeze", "--format", "text"});
  EXPECT_EQ(tasks.exitCode, 0) << tasks.err;
  EXPECT_THAT(tasks.out, HasSubstr("kthreadd"));
  const Result map = atSockets(watched, {"map", ".data", "uei.kind", "--freeze"});
  EXPECT_EQ(map.exitCode, 0) << map.err;
  EXPECT_THAT(map.out, HasSubstr(R"({"key":0,"value":)"));
  expectFrozenDumps(watched);
  EXPECT_EQ(watched.guest.run("echo it goes on"), "it goes on\n");
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
  const std::vector<std::string> words = {"write", ".data", "uei.kind", "1"};
  EXPECT_THAT(atSockets(watched, words, true).err, HasSubstr("write-refused")) << "not of what is granted";
  const auto one = planMapWrites(kernel, layout, std::vector{kind});
  const auto gate = gateFor(watched, one);
  const Result written = atSockets(watched, words, true);
  EXPECT_EQ(written.exitCode, 0) << written.err;
  EXPECT_THAT(written.out, HasSubstr(R"("before":"00000000","wrote":"01000000","after":"01000000")"));
  EXPECT_EQ(readBack(kernel, one[0]), one[0].bytes);
  expectSchedulerGone(watched);
}

// What does not ask for scx_simple.
void expectScheduler(Watched& watched) {
  expectEventsOfTheGuest(watched);
  expectMapsAndProgramsOfTheGuest(watched);
  expectProgramRunsOfTheGuest(watched);
}

// What SeesWhatTheGuestSays leaves to DrgnListsTheSameTasks, by kernel.
std::map<std::string, GuestCore>& cores() {
  static std::map<std::string, GuestCore> all;
  return all;
}

// Likewise to BpftoolDumpsTheSameMaps.
std::map<std::string, std::vector<MapDump>>& mapDumps() {
  static std::map<std::string, std::vector<MapDump>> all;
  return all;
}

void expectWhatTheGuestSays(Watched& watched) {
  expectEventsOfTheGuest(watched);
  expectSchedstatOfTheGuest(watched);
  expectMapsAndProgramsOfTheGuest(watched);
  expectProgramRunsOfTheGuest(watched);
  expectTasksOfTheGuest(watched);
  expectStoppedTaskOfTheGuest(watched);
  expectValuesOfTheGuest(watched);
  expectToolsThatSaySo(watched);
  expectDumpOfTheGuest(watched);
  expectFrozenLooks(watched);
}

// One kernel of each layout.
class MonitorKernels : public ::testing::TestWithParam<const char*> {};

// What does not ask for a scheduler, of a kernel that takes none.
void expectWhatAnyGuestSays(const std::string& kernel) {
  Watched watched(kernel, "");
  expectSchedstatOfTheGuest(watched);
  expectTasksOfTheGuest(watched);
  expectStoppedTaskOfTheGuest(watched);
  expectSupportAsInReadme(watched.guest, kernel);
  cores()[kernel] = expectCoreOfTheGuest(watched.guest);
}

TEST_P(MonitorKernels, SeesWhatTheGuestSays) {
  const std::string newest = "debian:7.3";
  KTSTR_NEED_KERNEL(GetParam());
  KTSTR_NEED_SCHEDULER("scx_simple");
  std::map<std::string, std::string> others;
  if (GetParam() == newest) {
    KTSTR_NEED_SCX_FAULT();
    others = {{"fault", scxFault()}, {"qmap", schedulerPath("scx_qmap")}};
  }
  std::optional<Watched> watched;
  try {
    watched.emplace(GetParam(), "scx_simple", "", others);
  } catch (const NotAttached& refused) {
    expectWhatAnyGuestSays(GetParam());
    GTEST_SKIP() << "the rest: the kernel takes no scx_simple: " << refused.what();
  }
  expectWhatTheGuestSays(*watched);
  expectSupportAsInReadme(watched->guest, GetParam());
  cores()[GetParam()] = expectCoreOfTheGuest(watched->guest);
  if (GetParam() == newest) expectEveryCommandAtEverySource(*watched, cores()[GetParam()]);
  if (findBpftool()) mapDumps()[GetParam()] = dumpMapsOfTheGuest(*watched);
  expectWritesToTakeEffect(*watched);
  if (GetParam() != newest) return;
  expectNotesOfTheFault(*watched);
  watched->start("qmap");
  expectScheduler(*watched);
}

TEST_P(MonitorKernels, DrgnListsTheSameTasks) {
  if (const auto why = whyNoDrgn()) GTEST_SKIP() << *why;
  const auto core = cores().extract(GetParam());
  if (core.empty()) GTEST_SKIP() << "there is no core: SeesWhatTheGuestSays has not written one";
  expectDrgnToListTheSameTasks(core.mapped(), GetParam());
}

TEST_P(MonitorKernels, BpftoolDumpsTheSameMaps) {
  if (!findBpftool()) GTEST_SKIP() << "bpftool is not installed (make deps)";
  const auto dumps = mapDumps().extract(GetParam());
  if (dumps.empty()) GTEST_SKIP() << "there are no dumps: SeesWhatTheGuestSays has not made any";
  expectSameMaps(dumps.mapped());
}

// KTSTR_TEST_ALL: every kernel that has sched_ext with struct scx_sched.
std::vector<const char*> kernels() {
  if (!getenv("KTSTR_TEST_ALL")) return {"debian:6.16", "debian:6.18", "debian:7.0", "debian:7.3"};
  return {"debian:6.16", "debian:6.17", "debian:6.18", "debian:6.19",
          "debian:7.0",  "debian:7.1",  "debian:7.2",  "debian:7.3"};
}

class SupportCommand : public ::testing::TestWithParam<const char*> {};

TEST_P(SupportCommand, BootsAKernelAndSaysWhatReadmeSays) {
  KTSTR_NEED_KERNEL(GetParam());
  // Which becomes `ktstr support`.
  const Result result =
      ktstr({"support", "--kernel", GetParam(), "--accel", "tcg"}, {.program = "ktstr-monitor"});
  EXPECT_EQ(result.exitCode, 0) << result.err;
  expectSupportAsInReadme(result.out, GetParam());
}

INSTANTIATE_TEST_SUITE_P(OneMoreBoot, SupportCommand,
                         ::testing::Values(getenv("KTSTR_TEST_ALL") ? "debian:6.17" : "debian:6.18"));

INSTANTIATE_TEST_SUITE_P(Layouts, MonitorKernels, ::testing::ValuesIn(kernels()));

// scx_sdt keeps what it knows of tasks in an arena.
TEST(MonitorArena, HasThePagesThatTheKernelCounts) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER("scx_sdt");
  Watched watched("debian:7.3", "scx_sdt");
  const auto& kernel = *watched.attachment->kernel;
  const auto& layout = watched.attachment->analysis->layout();
  const auto map = findMap(BpfObjects(kernel, layout).maps().found, "arena");
  const auto pages = readMapEntries(kernel, layout, map, 10'000);
  EXPECT_EQ(pages.problem, "");
  const std::string own = look(watched, {"read", hex(map.address), "bpf_arena", "nr_pages"}).out;
  EXPECT_THAT(own, HasSubstr(text("\"value\":", pages.found.size(), "}"))) << "what the kernel counts";
  ASSERT_GE(pages.found.size(), 2u);
  size_t used = 0;
  for (const auto& page : pages.found) {
    const auto& bytes = page.values.at(0).bytes;
    used += std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
  }
  EXPECT_GE(used, 2u);
  const Result shown = look(watched, {"map", "arena", "--limit", "1"});
  EXPECT_THAT(shown.out, ::testing::StartsWith(R"({"key":)"));
}

// The kernel tree's other schedulers; SeesWhatTheGuestSays looks at scx_qmap.
std::vector<const char*> otherSchedulers() {
  if (!getenv("KTSTR_TEST_ALL")) return {"scx_central", "scx_userland"};
  return {"scx_central", "scx_userland", "scx_flatcg"};
}

class MonitorSchedulers : public ::testing::TestWithParam<const char*> {};

TEST_P(MonitorSchedulers, HasProgramsThatRun) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER(GetParam());
  Watched watched("debian:7.3", GetParam());
  if (GetParam() != std::string("scx_userland")) return expectScheduler(watched);
  // With it nothing may happen that is counted: it asks for a task that is alone on its CPU, too
  // (SCX_OPS_ENQ_LAST), instead of having it kept.
  expectMapsAndProgramsOfTheGuest(watched);
  expectProgramRunsOfTheGuest(watched);
}

INSTANTIATE_TEST_SUITE_P(Tree, MonitorSchedulers, ::testing::ValuesIn(otherSchedulers()));

}  // namespace
}  // namespace ktstr::testing
