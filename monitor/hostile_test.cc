// The real ktstr-monitor on memory that means it harm: it ends soon, takes little memory, and says what is
// not there.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "monitor/crafted_bpf.h"
#include "monitor/crafted_scx.h"
#include "monitor/test_btf.h"
#include "monitor/test_kernel.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using test::TestKernel;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr double maxCpuSeconds = 60;
// The heap that it may have, the guest's RAM, and what it is made of. A sanitizer has its own on top.
#if defined(__SANITIZE_ADDRESS__)
constexpr long maxResidentKiB = 4 << 20;
#else
constexpr long maxResidentKiB = 448 << 10;
#endif

double cpuSecondsOfChildren() {
  rusage used{};
  getrusage(RUSAGE_CHILDREN, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

long maxResidentKiBOfChildren() {
  rusage used{};
  getrusage(RUSAGE_CHILDREN, &used);
  return used.ru_maxrss;
}

struct Look {
  std::string status, out, err;
};

// Once; how long it took and how much memory is checked.
Look look(const std::vector<std::string>& arguments, const std::string& source, int file) {
  int errors[2], output[2];
  EXPECT_EQ(pipe2(errors, O_CLOEXEC) | pipe2(output, O_CLOEXEC), 0);
  const Fd errorEnd(errors[0]), outputEnd(output[0]);
  Fd errorsOf(errors[1]), outputOf(output[1]);
  SpawnOptions options;
  options.executable = toolPath("ktstr-monitor");
  options.arguments = arguments;
  options.arguments.insert(options.arguments.end(), {source, text("/proc/", getpid(), "/fd/", file)});
  if (arguments.front() != "samples")
    options.arguments.insert(options.arguments.end(), {"--attach-ms", "500"});
  options.standardOutput = outputOf.get();
  options.standardError = errorsOf.get();
  const double before = cpuSecondsOfChildren();
  auto child = spawn(options);
  errorsOf.reset(), outputOf.reset();
  Look seen;
  seen.out = readAll(outputEnd.get());
  seen.err = readAll(errorEnd.get());
  seen.status = describeWaitStatus(child.wait());
  EXPECT_LT(cpuSecondsOfChildren() - before, maxCpuSeconds) << arguments.front();
  EXPECT_LT(maxResidentKiBOfChildren(), maxResidentKiB) << arguments.front();
  EXPECT_THAT(seen.status, AnyOf("exit code 0", "exit code 2", "exit code 3"))
      << arguments.front() << seen.err;
  if (seen.status != "exit code 0") {
    EXPECT_FALSE(seen.err.empty()) << arguments.front();
  }
  return seen;
}

// Members of the kernel's types, at places of our own, but for those that TestKernel has.
class Layouts : test::CraftedScx {
 public:
  static std::string all() {
    std::istringstream lines(text(layout, test::walkLayout, test::bpfLayout, test::localStorageLayout,
                                  test::structOpsLayout, "member sched_ext_ops.priv 300 8\n",
                                  "member scx_sched.ops.select_cpu 300 8\n",
                                  "member scx_sched.ops.dispatch_max_batch 380 4\n"));
    std::string some;
    for (std::string line; std::getline(lines, line);) {
      const std::string name = line.substr(0, line.rfind(' ', line.rfind(' ') - 1));
      if (!known().contains(name)) some += line + '\n';
    }
    return some;
  }

 private:
  static std::set<std::string> known() {
    return {"member rq.nr_running",    "member rq.curr",           "member rq.clock",
            "member rq.scx.flags",     "member rq.scx.nr_running", "member rq.scx.local_dsq",
            "member task_struct.pid",  "member task_struct.comm",  "member scx_sched.ops.name",
            "member scx_dispatch_q.nr"};
  }
};

// A kernel that is found, with as many CPUs as there can be, whose data structures are all in a region of RAM
// that a test fills.
class Hostile : public ::testing::Test {
 protected:
  static constexpr uint64_t region = 0x200'0000, regionBytes = 0x200'0000;

  static test::KernelOptions options(std::function<void(btf*)> types = {}) {
    test::KernelOptions options;
    options.firstTypes = types ? types : [](btf* made) { test::addLayout(made, Layouts::all()); };
    options.moreSymbols = {{"map_idr", 0xa'0000},
                           {"prog_idr", 0xa'0040},
                           {"init_task", 0xa'1000},
                           {"task_groups", 0xa'2000},
                           {"scx_sched_all", 0xa'2010},
                           {"nr_node_ids", 0xa'2020},
                           {"clocksource_jiffies", 0xa'2040}};
    return options;
  }
  explicit Hostile(const test::KernelOptions& kernel = options()) : kernel_(kernel) {
    kernel_.attachScheduler("hostile");
    kernel_.put<uint64_t>(kernel_.symbolGpa("scx_root"), kernel_.direct(region));
    kernel_.put<uint32_t>(kernel_.symbolGpa("nr_cpu_ids"), 0xffff'ffff);
    kernel_.put<uint32_t>(kernel_.symbolGpa("nr_node_ids"), 0xffff'ffff);
    kernel_.put<uint32_t>(kernel_.symbolGpa("clocksource_jiffies"), 4'000'000u << 8);
    kernel_.put<uint32_t>(kernel_.symbolGpa("clocksource_jiffies") + 4, 8);
    for (uint32_t word = 0; word < maxGuestCpus / 64; ++word)
      kernel_.put<uint64_t>(kernel_.symbolGpa("__cpu_possible_mask") + 8 * word, ~uint64_t{0});
    for (uint32_t cpu = 1; cpu < maxGuestCpus; ++cpu)
      kernel_.put<uint64_t>(
          kernel_.symbolGpa("__per_cpu_offset") + 8 * cpu,
          kernel_.direct(region + 0x1000 * cpu % regionBytes) - kernel_.symbolVa("runqueues"));
  }
  // `word`: of an address.
  template <typename Word>
  void fill(Word word) {
    for (uint64_t at = region; at < region + regionBytes; at += 8) kernel_.put<uint64_t>(at, word(at));
    for (const auto& [name, offset] : options().moreSymbols) {
      if (name == "nr_node_ids" || name == "clocksource_jiffies") continue;
      for (uint64_t at = 0; at < 64; at += 8) {
        if (offset + at < 0xa'2020)
          kernel_.put<uint64_t>(kernel_.symbolGpa(name) + at, word(region + offset % 4096 + at));
      }
    }
    for (uint64_t at = 0; at < 512; at += 8)
      kernel_.put<uint64_t>(kernel_.symbolGpa("init_task") + at, word(region + at));
  }
  std::vector<Look> lookAtAll() {
    const Fd ram = kernel_.file();
    std::vector<Look> seen;
    for (const std::vector<std::string>& words : {std::vector<std::string>{"dump"},
                                                  {"maps"},
                                                  {"progs"},
                                                  {"tasks", "--limit", "1000000"},
                                                  {"events"},
                                                  {"read", "runqueues@1", "rq", "--hops", "16"},
                                                  {"samples", "--count", "2", "--period-ms", "1"}})
      seen.push_back(look(words, "--ram", ram.get()));
    return seen;
  }

  TestKernel kernel_;
};

TEST(HostileRam, OfRandomBytesHasNoKernel) {
  const Fd ram = makeMemfd("random", TestKernel::ramBytes);
  Mapping mapping(ram.get(), 0, TestKernel::ramBytes, PROT_READ | PROT_WRITE);
  uint64_t random = 1;
  for (uint64_t at = 0; at < TestKernel::ramBytes; at += 8) {
    random = random * 6364136223846793005 + 1442695040888963407;
    std::memcpy(mapping.data() + at, &random, sizeof random);
  }
  for (const char* command : {"dump", "maps"})
    EXPECT_THAT(look({command}, "--ram", ram.get()).err, HasSubstr("kernel-not-found: no VMCOREINFO"));
  EXPECT_THAT(look({"dump"}, "--core", ram.get()).status, AnyOf("exit code 2", "exit code 3"));
}

TEST_F(Hostile, ListsThatNeverEnd) {
  fill([&](uint64_t at) { return kernel_.direct(at + 8 < region + regionBytes ? at + 8 : region); });
  const auto seen = lookAtAll();
  EXPECT_THAT(seen[0].out, HasSubstr("the list has more than"));
  EXPECT_EQ(seen[0].status, "exit code 0");
  EXPECT_THAT(seen[3].err, HasSubstr("the list has more than"));
}

TEST_F(Hostile, ListsThatComeBackToThemselves) {
  fill([&](uint64_t at) { return kernel_.direct(at); });
  EXPECT_THAT(lookAtAll()[0].out, HasSubstr("the list comes back to"));
}

TEST_F(Hostile, CountsAndPointersBeyondAllMemory) {
  fill([&](uint64_t) { return ~uint64_t{0}; });
  EXPECT_THAT(lookAtAll()[0].out, HasSubstr("not in memory"));
}

TEST_F(Hostile, PointersToAnything) {
  uint64_t state = 1;
  fill([&](uint64_t) {
    state = state * 6364136223846793005 + 1442695040888963407;
    const uint64_t bits = state >> 33;
    return bits & 1 ? kernel_.direct(region + (bits & 0xff'fff8)) : bits >> 8 & 0x3f;
  });
  EXPECT_THAT(lookAtAll()[0].out, HasSubstr(R"("absent":[{)"));
}

// A scheduler's struct_ops map and a per-CPU one, each of whose values is on all CPUs; all else is one list.
TEST_F(Hostile, ValuesOnEveryCpuOfManyEntries) {
  fill([&](uint64_t at) { return kernel_.direct(at + 8 < region + regionBytes ? at + 8 : region); });
  constexpr uint64_t slots = region + 0x100'0000, first = slots + 0x1000, second = slots + 0x8000;
  kernel_.put<uint64_t>(kernel_.symbolGpa("map_idr") + 8, kernel_.direct(slots) + 2);
  kernel_.put<uint64_t>(slots, 0);  // shift
  for (unsigned slot = 0; slot < 64; ++slot) kernel_.put<uint64_t>(slots + 40 + 8 * slot, 0);
  for (const auto& [slot, map] : {std::pair{1u, first}, {2u, second}}) {
    kernel_.put<uint64_t>(slots + 40 + 8 * slot, kernel_.direct(map));
    for (uint64_t at = 0; at < 64; at += 8) kernel_.put<uint64_t>(map + at, 0);
    kernel_.put<uint32_t>(map, slot);
  }
  const auto set = [&](uint64_t map, uint32_t type, uint32_t valueSize, uint32_t entries) {
    kernel_.put<uint32_t>(map + 4, type);
    kernel_.put<uint32_t>(map + 8, 4);
    kernel_.put<uint32_t>(map + 12, valueSize);
    kernel_.put<uint32_t>(map + 16, entries);
    kernel_.put<uint64_t>(map + 40, kernel_.direct(slots + 0x7000));  // the same types
  };
  set(first, BPF_MAP_TYPE_PERCPU_ARRAY, 1, 1 << 20);
  set(second, BPF_MAP_TYPE_STRUCT_OPS, 256, 1);
  kernel_.put<uint64_t>(second + 192 + 300, kernel_.direct(region));  // priv
  for (const uint64_t word : {region + 0x40, region + 0x48}) kernel_.put<uint64_t>(word, 0);
  const auto seen = lookAtAll();
  EXPECT_THAT(seen[0].out,
              AnyOf(HasSubstr("BPF_MAP_TYPE_PERCPU_ARRAY"), HasSubstr("there was no more time")));
  const Fd ram = kernel_.file();
  EXPECT_THAT(look({"map", "#1", "--hops", "4", "--limit", "1000000"}, "--ram", ram.get()).err,
              HasSubstr("there are more than 32 MiB of it"));
}

// Types of which each has all the others inside, or itself.
TEST_F(Hostile, TypesThatGoInCircles) {
  TestKernel kernel(options([](btf* types) {
    const auto must = test::MadeTypes::must;
    const int u64 = btf__add_int(types, "u64", 8, 0);
    const int big = btf__add_struct(types, "big", 60'000);
    for (uint32_t i = 0; i < 60'000; ++i) must(btf__add_field(types, "a", u64, 0, 0));
    const int circle = static_cast<int>(btf__type_cnt(types));
    must(btf__add_typedef(types, "circle", circle));
    const int endless = static_cast<int>(btf__type_cnt(types));
    must(btf__add_array(types, u64, endless, 1000));
    for (const char* name :
         {"scx_sched", "bpf_map", "cgroup", "task_group", "sched_domain", "scx_event_stats"}) {
      for (unsigned i = 0; i < 20'000; ++i) {
        const int own = btf__add_struct(types, name, 60'000);
        for (const int inside : {big, own, circle, endless}) must(btf__add_field(types, "", inside, 0, 0));
      }
    }
  }));
  const Fd ram = kernel.file();
  for (const char* command : {"dump", "support", "maps"}) look({command}, "--ram", ram.get());
  look({"type", "scx_sched", "nope"}, "--ram", ram.get());
  look({"read", "scx_root", "circle"}, "--ram", ram.get());
}

// The same by way of a core.
TEST_F(Hostile, CoreOfIt) {
  fill([&](uint64_t at) { return kernel_.direct(at + 8 < region + regionBytes ? at + 8 : region); });
  const Fd ram = kernel_.file(), core = makeMemfd("core", 0);
  SpawnOptions options;
  options.executable = toolPath("ktstr-monitor");
  options.arguments = {"core", "--ram", text("/proc/", getpid(), "/fd/", ram.get())};
  options.standardOutput = core.get();
  ASSERT_EQ(describeWaitStatus(spawn(options).wait()), "exit code 0");
  for (const char* command : {"dump", "tasks"}) look({command, "--format", "text"}, "--core", core.get());
}

}  // namespace
}  // namespace ktstr
