// What telemetry costs: the calls that an iteration of every work type makes (counted by work-bench-calls,
// the same loops with another telemetry, which must be beside this), times what a call takes here, of the CPU
// time that the iteration takes. Comparing throughput with and without telemetry cannot show less than 1 %:
// it differs by more from one run to the next.
//   work-bench            a table, one line per type
//   work-bench TYPE       one type
//   work-bench --once TYPE MS   one run, all workers on one CPU: CPU time, iterations, calls (calls.h)
#include <capnp/message.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "guest/scenario/work_types.h"
#include "guest/work/bench/calls.h"
#include "guest/work/crew.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr::work {
namespace {

constexpr int rounds = 5, milliseconds = 60;

// Of all workers of a run. The calls are those of work-bench-calls.
struct Sums {
  uint64_t cpuNs = 0, iterations = 0;
  std::array<uint64_t, calls> made{};
};

// A type's defaults, and what they lack to do something.
std::string typeJson(const std::string& name) {
  if (name == "sequence")
    return R"({"sequence":{"phases":[{"spinUs":1000},{"sleepUs":1000},{"yieldUs":1000}]}})";
  if (name == "numaWorkingSetSweep") return R"({"numaWorkingSetSweep":{"sweepPeriodMs":1}})";
  if (name == "numaMigrationChurn") return R"({"numaMigrationChurn":{"periodMs":1}})";
  if (name == "cgroupChurn") return R"({"cgroupChurn":{"cycleMs":1}})";
  if (name == "bursty") return R"({"bursty":{"burstUs":5000,"sleepUs":1000}})";
  const bool bare = name == "yieldHeavy" || name == "forkExit" || name == "niceSweep";
  return "{\"" + name + "\":" + (bare ? "null" : "{}") + "}";
}

std::vector<std::string> allTypes() {
  std::vector<std::string> names;
  for (const auto field : capnp::Schema::from<rpc::WorkType>().getUnionFields()) {
    const std::string name = field.getProto().getName().cStr();
    if (name != "custom") names.push_back(name);  // it needs a function
  }
  return names;
}

void pin() {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(0, &set);
  sched_setaffinity(0, sizeof set, &set);
}

// In place of the cgroup.procs of two cgroups: a write takes less CPU time than a move, so it does not
// flatter.
Surroundings withoutCgroups(const std::vector<Fd>& files) {
  Surroundings surroundings;
  for (const Fd& file : files) surroundings.churnCgroups.push_back(text("/proc/self/fd/", file.get()));
  return surroundings;
}

void runOnce(const std::string& name, unsigned runMs) {
  capnp::MallocMessageBuilder message;
  auto type = message.initRoot<rpc::WorkType>();
  fromJson(typeJson(name), type);
  const uint32_t workers = workGroupSize(type);
  std::vector<Fd> files;
  for (const char* file : {"churn-0", "churn-1"}) files.push_back(makeMemfd(file, 1));
  WorkGroup group(type.asReader(), workers, withoutCgroups(files));
  const Fd start(eventfd(0, EFD_CLOEXEC));
  for (uint32_t index = 0; index < workers; index++) {
    if (fork() != 0) continue;
    pin();  // not the parent: what is real time keeps others from that CPU
    runCrew({{&group, index}}, false, start.get());
    _exit(0);
  }
  for (uint32_t index = 0; index < workers; index++) group.page(index).goNs = monotonicNs();
  eventfd_write(start.get(), 1);
  usleep(runMs * 1000);
  for (uint32_t index = 0; index < workers; index++) group.stop(index);
  while (wait(nullptr) > 0) continue;
  Sums sums;
  for (uint32_t index = 0; index < workers; index++) {
    const WorkerPage& page = group.page(index);
    sums.cpuNs += page.cpuNs.load();
    sums.iterations += page.iterations.load();
    for (size_t call = 0; call < calls; call++) sums.made[call] += page.numaPages[call].load();
  }
  printf("%lu %lu", sums.cpuNs, sums.iterations);
  for (const uint64_t made : sums.made) printf(" %lu", made);
  printf("\n");
}

std::optional<Sums> measure(const std::string& program, const std::string& name) {
  FILE* output = popen((program + " --once " + name + " " + std::to_string(milliseconds)).c_str(), "r");
  Sums sums;
  if (output == nullptr) return std::nullopt;
  bool good = fscanf(output, "%lu %lu", &sums.cpuNs, &sums.iterations) == 2 && sums.iterations > 0;
  for (uint64_t& made : sums.made) good = good && fscanf(output, "%lu", &made) == 1;
  pclose(output);
  return good ? std::optional(sums) : std::nullopt;
}

// Nanoseconds of a call, the best of many short series.
template <typename Call>
double costOf(const Call& call) {
  constexpr int series = 200, calls = 1000;
  uint64_t best = UINT64_MAX;
  for (int i = 0; i < series; i++) {
    const uint64_t begin = monotonicNs();
    for (int j = 0; j < calls; j++) call();
    best = std::min(best, monotonicNs() - begin);
  }
  return static_cast<double>(best) / calls;
}

using Costs = std::array<double, calls>;

Costs measureCosts() {
  capnp::MallocMessageBuilder message;
  WorkerPage page{};
  Telemetry telemetry(page);
  Group group{};
  Member members[2]{};
  const GroupFiles files;
  const Surroundings surroundings;
  Seat seat{telemetry,   page,  message.initRoot<rpc::WorkType>().asReader(),
            0,           2,     0,
            2,           group, members,
            nullptr,     files, -1,
            surroundings};
  telemetry.begin();
  Costs cost{};
  cost[iterationCall] = costOf([&] { telemetry.iteration(1); });
  cost[countCall] = costOf([&] { telemetry.count(1); });
  cost[checkpointCall] = costOf([&] { telemetry.checkpoint(); });
  cost[nowCall] = std::max(costOf([&] { telemetry.now(); }) - costOf(clockNs), 0.0);
  // Steps of nothing are soon the longest series there is; when it has to stop, it is one.
  const auto series = [&] { telemetry.steps([] {}); };
  const double longest = costOf(series);
  page.stop.store(1);
  const double one = costOf(series);
  page.stop.store(0);
  cost[stepCall] = (longest - one) / (Pace::longest - 1);
  cost[lookCall] = one - cost[stepCall];
  // It always ends with a sample.
  cost[waitCall] = costOf([&] {
    seat.wait(group.word, [&] {
      members[0].wokenNs.store(UINT64_MAX, std::memory_order_relaxed);
      return true;
    });
  });
  cost[operationCall] = costOf([&] { telemetry.operation(12345); });
  cost[eventCall] = costOf([&] { telemetry.event(); });
  const auto notify = [&](uint32_t count) {
    return costOf([&] {
      for (Member& member : members) member.wokenNs.store(0, std::memory_order_relaxed);
      seat.notify(0, count);
    });
  };
  cost[notifyCall] = notify(1);
  cost[furtherNotifyCall] = std::max(notify(2) - cost[notifyCall], 0.0);
  cost[notifyAtCall] = costOf([&] {
    members[1].wokenNs.store(0, std::memory_order_relaxed);
    seat.notifyAt(1, 12345);
  });
  return cost;
}

void show(const std::string& self, const std::string& name, const Costs& cost) {
  double cpuNs = 1e18;
  for (int round = 0; round < rounds; round++) {
    const auto run = measure(self, name);
    if (run) cpuNs = std::min(cpuNs, static_cast<double>(run->cpuNs) / static_cast<double>(run->iterations));
  }
  const auto counted = measure(self + "-calls", name);
  if (!counted || cpuNs == 1e18) {
    printf("%-26s no iteration in %d ms\n", name.c_str(), milliseconds);
    return;
  }
  double ns = 0;
  for (size_t call = 0; call < calls; call++)
    ns += static_cast<double>(counted->made[call]) / static_cast<double>(counted->iterations) * cost[call];
  printf("%-26s %12.0f ns %9.1f ns %8.2f %%\n", name.c_str(), cpuNs, ns, ns / cpuNs * 100);
  fflush(stdout);
}

}  // namespace
}  // namespace ktstr::work

int main(int argc, char** argv) {
  using namespace ktstr::work;
  if (argc == 4 && strcmp(argv[1], "--once") == 0) {
    runOnce(argv[2], static_cast<unsigned>(atoi(argv[3])));
    return 0;
  }
  char self[PATH_MAX] = {};
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return 1;
  const Costs cost = measureCosts();
  printf("a call: iteration %.1f ns, count %.1f, checkpoint %.1f (%.1f in place of a reading of the clock), ",
         cost[iterationCall], cost[countCall], cost[checkpointCall], cost[nowCall]);
  printf(
      "step %.1f, look %.1f, wait %.1f, operation %.1f, event %.1f, notify %.1f (%.1f for each further)\n\n",
      cost[stepCall], cost[lookCall], cost[waitCall], cost[operationCall], cost[eventCall], cost[notifyCall],
      cost[furtherNotifyCall]);
  printf("%-26s %15s %12s %10s\n", "an iteration", "CPU time", "telemetry", "cost");
  for (const std::string& name : argc == 2 ? std::vector<std::string>{argv[1]} : allTypes())
    show(self, name, cost);
  return 0;
}
