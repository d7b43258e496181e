#include "tests/system/statistics_expectations.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "monitor/inspect.h"
#include "monitor/sampler.h"
#include "monitor/task_list.h"
#include "protocol/text.h"

namespace ktstr::testing {
namespace {

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

// The schedstat counters and domains of all CPUs, by names of our own: "cpu1 ttwu_count".
Counters readSchedstat(Watched& watched) {
  Sampler sampler(*watched.attachment);
  capnp::MallocMessageBuilder message;
  auto sample = message.initRoot<rpc::Sample>();
  sampler.sample(sample);
  Counters all;
  for (const auto cpu : sample.asReader().getCpus()) {
    const std::string name = text("cpu", cpu.getCpu(), " ");
    EXPECT_TRUE(cpu.hasSchedstat() && cpu.hasCfs());
    const auto seen = cpu.getSchedstat();
    all[name + "yld_count"] = seen.getYldCount();
    all[name + "sched_count"] = seen.getSchedCount();
    all[name + "sched_goidle"] = seen.getSchedGoidle();
    all[name + "ttwu_count"] = seen.getTtwuCount();
    all[name + "ttwu_local"] = seen.getTtwuLocal();
    all[name + "rq_cpu_time"] = seen.getCpuTimeNs();
    all[name + "run_delay"] = seen.getRunDelayNs();
    all[name + "pcount"] = seen.getPcount();
    for (unsigned level = 0; level < cpu.getDomains().size(); ++level) {
      const auto domain = cpu.getDomains()[level];
      const std::string its = text(name, "domain", level, " ", domain.getName().cStr(), " ");
      for (unsigned type = 0; type < domain.getLbCount().size(); ++type) {
        all[text(its, "lb_count ", type)] = domain.getLbCount()[type];
        all[text(its, "lb_failed ", type)] = domain.getLbFailed()[type];
      }
      all[its + "ttwu_move_affine"] = domain.getTtwuMoveAffine();
    }
  }
  return all;
}

// Those of /proc/schedstat, version 17 (Documentation/scheduler/sched-stats.rst).
Counters parseSchedstat(const std::string& lines) {
  constexpr const char* ofCpu[] = {"yld_count",    "",           "sched_count",
                                   "sched_goidle", "ttwu_count", "ttwu_local",
                                   "rq_cpu_time",  "run_delay",  "pcount"};
  constexpr unsigned idleTypes = 3, perIdleType = 11, lbFailed = 2, moveAffine = 10;
  Counters all;
  std::istringstream in(lines);
  std::string cpu;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string head, name, mask;
    words >> head;
    std::vector<uint64_t> numbers;
    if (head.starts_with("cpu")) {
      cpu = head + " ";
      for (uint64_t number; words >> number;) numbers.push_back(number);
      for (size_t i = 0; i < numbers.size(); ++i) all[cpu + ofCpu[i]] = numbers[i];
      all.erase(cpu);
    } else if (head.starts_with("domain")) {
      words >> name >> mask;
      for (uint64_t number; words >> number;) numbers.push_back(number);
      const std::string its = text(cpu, head, " ", name, " ");
      for (unsigned type = 0; type < idleTypes; ++type) {
        all[text(its, "lb_count ", type)] = numbers.at(type * perIdleType);
        all[text(its, "lb_failed ", type)] = numbers.at(type * perIdleType + lbFailed);
      }
      all[its + "ttwu_move_affine"] = numbers.at(idleTypes * perIdleType + moveAffine);
    }
  }
  return all;
}

// "se.sum_exec_runtime   :   512.345678" of /proc/PID/sched, times in ns.
Counters parseTaskSched(const std::string& lines) {
  std::istringstream in(lines);
  Counters all;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name, colon, value;
    if (!(words >> name >> colon >> value) || colon != ":") continue;
    const size_t point = value.find('.');
    if (point != std::string::npos) value.erase(point, 1);  // six digits after it
    all[name] = strtoull(value.c_str(), nullptr, 10);
  }
  return all;
}

void expectBetween(const Counters& before, const Counters& own, const Counters& after) {
  EXPECT_EQ(before.size(), own.size());
  for (const auto& [name, value] : own) {
    ASSERT_TRUE(before.contains(name) && after.contains(name)) << name;
    EXPECT_LE(before.at(name), value) << name;
    EXPECT_LE(value, after.at(name)) << name;
  }
}

// What the attached scheduler's programs ran, by name; from a sample.
std::map<uint32_t, rpc::ProgSample::Reader> samplePrograms(Sampler& sampler,
                                                           capnp::MallocMessageBuilder& message) {
  auto sample = message.initRoot<rpc::Sample>();
  sampler.sample(sample);
  std::map<uint32_t, rpc::ProgSample::Reader> programs;
  for (const auto program : sample.asReader().getProgs()) programs.emplace(program.getId(), program);
  return programs;
}

}  // namespace

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

void expectSchedstatOfTheGuest(Watched& watched) {
  const std::string lines = watched.guest.run(
      "echo 1 > /proc/sys/kernel/sched_schedstats; usleep 300000; head -n 1 /proc/schedstat");
  ASSERT_EQ(lines, "version 17\n") << "another format";
  const Counters before = readSchedstat(watched);
  const Counters own = parseSchedstat(watched.guest.run("cat /proc/schedstat"));
  const Counters after = readSchedstat(watched);
  EXPECT_GE(own.size(), 2u * (8 + 7)) << "two CPUs, and a domain of each";
  expectBetween(before, own, after);
  EXPECT_GT(own.at("cpu0 sched_count") + own.at("cpu1 sched_count"), 0u);
  size_t equal = 0;
  for (const auto& [name, value] : own) equal += before.at(name) == value && value == after.at(name);
  EXPECT_GE(equal, 2u) << "some stood still";
}

void expectProgramRunsOfTheGuest(Watched& watched) {
  watched.guest.run("echo 1 > /proc/sys/kernel/bpf_stats_enabled; timeout 1 sh -c 'while :; do :; done'");
  Sampler sampler(*watched.attachment);
  capnp::MallocMessageBuilder one, two;
  const auto before = samplePrograms(sampler, one);
  auto own = descriptors(watched, "prog_id:", "prog_type:");
  const auto after = samplePrograms(sampler, two);
  EXPECT_GE(before.size(), 5u) << "scx_simple's";
  EXPECT_EQ(before.size(), after.size());
  uint64_t runs = 0;
  for (const auto& [id, program] : before) {
    ASSERT_TRUE(own.contains(id) && after.contains(id)) << program.getName().cStr();
    const Counters& its = own[id];
    EXPECT_LE(program.getRuns(), its.at("run_cnt:")) << program.getName().cStr();
    EXPECT_LE(its.at("run_cnt:"), after.at(id).getRuns()) << program.getName().cStr();
    EXPECT_LE(program.getNanos(), its.at("run_time_ns:")) << program.getName().cStr();
    EXPECT_LE(its.at("run_time_ns:"), after.at(id).getNanos()) << program.getName().cStr();
    runs += its.at("run_cnt:");
  }
  EXPECT_GT(runs, 10u);
}

void expectStoppedTaskOfTheGuest(Watched& watched) {
  const auto& kernel = *watched.attachment->kernel;
  watched.guest.run("sh -c 'while :; do :; done' & echo $! > /tmp/spinner; usleep 500000");
  const int32_t pid = std::stoi(watched.guest.run(
      "read p < /tmp/spinner; kill -STOP $p; until grep -q 'State:.T' /proc/$p/status; do usleep 10000; "
      "done; echo $p"));
  auto own = parseTaskSched(watched.guest.run(text("cat /proc/", pid, "/sched")));
  const auto walk = listTasks(kernel, watched.attachment->analysis->layout(), 10'000);
  const auto task = std::find_if(walk.found.begin(), walk.found.end(), [&](auto& t) { return t.pid == pid; });
  ASSERT_NE(task, walk.found.end()) << pid;
  EXPECT_EQ(task->state, "stopped");
  EXPECT_EQ(own.at("ext.enabled"), task->schedClass == "ext" ? 1u : 0u) << task->schedClass;
  const auto member = [&](const char* path) {
    const auto seen = inspect(*watched.attachment,
                              {.command = "read", .arguments = {hex(task->address), "task_struct", path}});
    return nlohmann::json::parse(asJsonLines(seen.records)).at("value").get<uint64_t>();
  };
  EXPECT_GT(own.at("se.sum_exec_runtime"), 10'000'000u) << "it spun for half a second";
  for (const char* name : {"se.sum_exec_runtime", "se.nr_migrations", "policy", "prio"})
    EXPECT_EQ(member(name), own.at(name)) << name;
  EXPECT_EQ(member("nvcsw"), own.at("nr_voluntary_switches"));
  EXPECT_EQ(member("nivcsw"), own.at("nr_involuntary_switches"));
  watched.guest.run(text("kill -KILL ", pid));
}

}  // namespace ktstr::testing
