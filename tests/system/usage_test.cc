// Bad input that must be refused before a machine exists: quickly, by name, with the next step.
#include <capnp/message.h>
#include <capnp/schema.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <ostream>

#include "guest/scenario/catalog.h"
#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

// Refused with this exit code, this name on stderr, and a hint in parentheses.
void expectRefused(const Result& result, int exitCode, const std::string& name,
                   const std::string& evidence = "") {
  EXPECT_EQ(result.exitCode, exitCode) << result.err;
  EXPECT_NE(result.err.find(name), std::string::npos) << result.err;
  EXPECT_NE(result.err.find(evidence), std::string::npos) << result.err;
  EXPECT_TRUE(result.out.empty()) << result.out;
  EXPECT_TRUE(descendants().empty());
}

std::vector<std::string> runWith(std::vector<std::string> words) {
  words.insert(words.begin(), {"run", scenario("basic")});
  return words;
}

TEST(FrontEnd, HelpNamesEveryCommandAndExitCode) {
  const Result help = ktstr({"help"});
  EXPECT_EQ(help.exitCode, 0);
  for (const char* word :
       {"run", "demo", "kernel", "scheduler", "monitor", "support", "completions", "exit codes"}) {
    EXPECT_NE(help.out.find(word), std::string::npos) << word;
  }
}

TEST(FrontEnd, EachToolHasHelpWithExamples) {
  for (const char* tool : {"run", "kernel", "scheduler", "monitor", "support"}) {
    const Result help = ktstr({tool, "--help"});
    EXPECT_EQ(help.exitCode, 0) << tool << help.err;
    EXPECT_NE(help.out.find("ktstr"), std::string::npos) << tool;
  }
}

TEST(FrontEnd, UnknownCommandIsRefused) {
  expectRefused(ktstr({"frobnicate"}), 2, "unknown-command", "ktstr help");
}

TEST(FrontEnd, ProbeEndsBySayingWhetherKvmRunsLinux) {
  const Result result = ktstr({"probe"});
  const bool hardware = result.out.starts_with("{\"kvm\":\"hardware\",\"detail\":\"");
  EXPECT_EQ(result.exitCode, hardware ? 0 : 5) << result.out;
  EXPECT_TRUE(result.out.ends_with("\"}\n")) << result.out;
  EXPECT_EQ(result.err, "");
}

// What bash offers for `ktstr WORDS`, completing the last of them.
std::string completedByBash(const std::string& words) {
  const std::string command = "bash -c '. <(" + binary("ktstr") + " completions bash); COMP_WORDS=(ktstr " +
                              words + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _ktstr; " +
                              "printf \"%s\\n\" \"${COMPREPLY[@]}\"' 2>&1";
  FILE* output = popen(command.c_str(), "r");
  std::string offered = readAll(fileno(output));
  pclose(output);
  return offered;
}

TEST(FrontEnd, CompletionsAreForShellsThatExist) {
  EXPECT_NE(ktstr({"completions", "bash"}).out.find("complete"), std::string::npos);
  EXPECT_EQ(completedByBash("pr"), "probe\n");
  EXPECT_EQ(completedByBash("run --accel t"), "tcg\n");
  EXPECT_NE(ktstr({"completions", "zsh"}).out.find("compdef"), std::string::npos);
  EXPECT_NE(ktstr({"completions", "fish"}).out.find("complete -c ktstr"), std::string::npos);
  expectRefused(ktstr({"completions", "tcsh"}), 2, "unknown-shell");
}

TEST(Usage, TopologiesThatMeanNothing) {
  for (const char* topology : {"0n1l1c1t", "1n0l1c1t", "1n1l0c1t", "2n3l1c1t", "1n64l64c2t", "1n1l1c", "two",
                               "", "1n1l1c1t1", "0l256M,1c1t", "1l256M,0l3M,1c1t", "2n2l1c1t,0-1:9"}) {
    expectRefused(ktstr(runWith({"--topology", topology})), 2, "topology-invalid");
  }
}

TEST(Usage, MemoryAndDurationThatMeanNothing) {
  expectRefused(ktstr(runWith({"--memory", "lots"})), 2, "memory-invalid");
  expectRefused(ktstr(runWith({"--topology", "1l256M,0l256M,1c1t", "--memory", "1G"})), 2, "memory-invalid",
                "512 MiB in all");
  expectRefused(ktstr(runWith({"--duration", "2h"})), 2, "duration-invalid");
}

TEST(Usage, ScenarioThatIsNotThere) {
  expectRefused(ktstr({"run", "/nonexistent.json"}), 2, "scenario-unreadable", "/nonexistent.json");
}

struct BadScenario {
  const char* what;
  const char* json;
  const char* name;
  const char* place;
};

void PrintTo(const BadScenario& bad, std::ostream* out) {
  *out << bad.what;
}

std::string nameOf(const ::testing::TestParamInfo<BadScenario>& test) {
  return test.param.what;
}

class ScenarioFile : public ::testing::TestWithParam<BadScenario> {};

TEST_P(ScenarioFile, IsRefusedWithItsPlace) {
  const Result result = ktstr({"run", "-", "--topology", "1n2l2c2t"}, {.input = GetParam().json});
  expectRefused(result, 2, GetParam().name, GetParam().place);
}

constexpr const char* oneWorker = R"("work": [{"workers": 1, "type": {"spinWait": {}}}])";
const std::string unknownCpuset =
    std::string(R"({"name": "x", "steps": [{"cgroups": [{"name": "a", "cpuset": {"llc": 7}, )") + oneWorker +
    "}]}]}";

INSTANTIATE_TEST_SUITE_P(
    Bad, ScenarioFile,
    ::testing::Values(
        BadScenario{"UnknownField", R"({"name": "x", "stps": []})", "json-invalid", "stps"},
        BadScenario{"WrongType", R"({"name": "x", "durationMs": "two"})", "json-invalid", "durationMs"},
        BadScenario{"NotJson", "steps: []", "json-invalid", ""}, BadScenario{"Empty", "", "json-invalid", ""},
        BadScenario{"NoSteps", R"({"name": "x"})", "scenario-invalid", "steps"},
        BadScenario{"NoSuchLlc", unknownCpuset.c_str(), "scenario-invalid", "steps[0].cgroups[0].cpuset"},
        BadScenario{
            "ZeroWorkers",
            R"({"name": "x", "steps": [{"cgroups": [{"name": "a", "work": [{"workers": 0, "type": {"spinWait": {}}}]}]}]})",
            "scenario-invalid", "workers"},
        BadScenario{
            "OddPair",
            R"({"name": "x", "steps": [{"cgroups": [{"name": "a", "work": [{"workers": 3, "type": {"pipeIo": {}}}]}]}]})",
            "scenario-invalid", "workers"},
        BadScenario{
            "UnknownWorkType",
            R"({"name": "x", "steps": [{"cgroups": [{"name": "a", "work": [{"type": {"spinWeight": {}}}]}]}]})",
            "json-invalid", "spinWeight"},
        BadScenario{
            "TenThousandWorkers",
            R"({"name": "x", "steps": [{"cgroups": [{"name": "a", "work": [{"workers": 10000, "type": {"spinWait": {}}}]}]}]})",
            "scenario-invalid", "10000 workers; at most 4096"},
        BadScenario{"NegativeDuration", R"({"name": "x", "durationMs": -5})", "json-invalid", "durationMs"},
        BadScenario{
            "NegativeHold",
            R"({"name": "x", "steps": [{"hold": {"fraction": -1}, "cgroups": [{"name": "a", "work": [{"type": {"spinWait": {}}}]}]}]})",
            "scenario-invalid", "steps[0].hold.fraction: -1"},
        BadScenario{"SiblingsApart",
                    R"({"name": "x", "steps": [{"cgroups": [{"name": "a", "cpuset": {"exact": [0, 2]},
                "work": [{"workers": 2, "type": {"smtSiblingSpin": {}}}]}]}]})",
                    "scenario-invalid", "no two are threads of one core"}),
    nameOf);

// What is printed of a scenario, given back, is printed the same, and is the scenario that it was made of.
void expectPrintedBack(const std::string& what, const std::string& topology) {
  SCOPED_TRACE(what);
  const Result printed = ktstr({"scenario", "show", what, "--topology", topology});
  ASSERT_EQ(printed.exitCode, 0) << printed.err;
  const Result again = ktstr({"scenario", "show", "-", "--topology", topology}, {.input = printed.out});
  ASSERT_EQ(again.exitCode, 0) << again.err;
  EXPECT_EQ(again.out, printed.out);
  capnp::MallocMessageBuilder shown, meant;
  auto ofShown = shown.initRoot<rpc::Scenario>(), ofMeant = meant.initRoot<rpc::Scenario>();
  fromJson(printed.out, ofShown);
  if (what.ends_with(".json"))
    fromJson(readFile(what), ofMeant);
  else
    writeCanned(*findCanned(what), {.topology = parseTopology(topology)}, ofMeant);
  EXPECT_EQ(toJson(ofShown.asReader()), toJson(ofMeant.asReader()));
}

TEST(ScenarioTool, PrintsEveryShippedScenarioBack) {
  unsigned files = 0;
  const std::filesystem::path directory = std::filesystem::path(scenario("basic")).parent_path();
  for (const auto& file : std::filesystem::recursive_directory_iterator(directory)) {
    if (file.path().extension() != ".json") continue;
    files++;
    expectPrintedBack(file.path(), "2n2l2c2t");
  }
  EXPECT_GE(files, 10u);
  for (const char* canned : {"steady", "sched_mixed", "cpuset_numa_swap", "nested_task_move",
                             "dsq_contention", "mutex_contention_heavy", "fan_out_wake"})
    expectPrintedBack(canned, "2n2l2c1t");
}

TEST(ScenarioTool, ListsTheCatalogueAndRefusesWhatDoesNotFit) {
  const Result names = ktstr({"scenario", "list", "--format", "names"});
  std::string expected;
  for (const auto& canned : cannedScenarios()) expected += canned.name + std::string("\n");
  EXPECT_EQ(names.out, expected);
  EXPECT_NE(ktstr({"scenario", "list"}).out.find("\n\nnested\n  nested_steady "), std::string::npos);
  const Result fitted = ktstr({"scenario", "list", "--format", "jsonl", "--topology", "1n1l2c1t"});
  EXPECT_NE(fitted.out.find("\"fits\":false"), std::string::npos) << fitted.out;
  expectRefused(ktstr({"scenario", "show", "cpuset_numa_swap", "--topology", "1n1l2c1t"}), 2,
                "scenario-does-not-fit", "needs 2 NUMA nodes");
  expectRefused(ktstr({"scenario", "show", "no_such"}), 2, "scenario-unreadable");
}

TEST(WorkTypeTool, ListsEveryTypeForPeopleAndPrograms) {
  const Result table = ktstr({"work-type", "list"}),
               lines = ktstr({"work-type", "list", "--format", "jsonl"});
  EXPECT_EQ(std::count(lines.out.begin(), lines.out.end(), '\n'), 38);
  for (const auto field : capnp::Schema::from<rpc::WorkType>().getUnionFields()) {
    const std::string name = field.getProto().getName().cStr();
    EXPECT_NE(("\n" + table.out).find("\n" + name), std::string::npos) << name;
    EXPECT_NE(lines.out.find("{\"name\":\"" + name + "\","), std::string::npos) << name;
  }
}

TEST(Usage, KernelThatIsNoKernel) {
  const TemporaryDirectory directory;
  const TemporaryDirectory cache;
  const Options options{.environment = {"KTSTR_CACHE_DIR=" + cache.path()}};
  expectRefused(ktstr(runWith({"--kernel", directory.path() + "/missing"}), options), 2,
                "kernel-file-missing");
  const std::string noise = directory.file("noise", std::string(100'000, 'x'));
  expectRefused(ktstr(runWith({"--kernel", noise}), options), 2, "kernel-image-invalid");
  expectRefused(ktstr(runWith({"--kernel", "debian:"}), options), 2, "kernel-spec-invalid");
  expectRefused(ktstr(runWith({"--kernel", "redhat:9"}), options), 2, "kernel-spec-invalid");
}

TEST(Usage, TruncatedKernelIsRefused) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory directory;
  const std::string path = ktstr({"kernel", "path", "debian:7.3", "vmlinuz"}).out;
  const std::string whole = readFile(path.substr(0, path.find('\n')));
  const std::string half = directory.file("vmlinuz", whole.substr(0, whole.size() / 2));
  expectRefused(ktstr(runWith({"--kernel", half})), 2, "kernel-image-truncated");
  std::string damaged = whole;
  for (size_t i = whole.size() / 2; i < whole.size() / 2 + 4096; i++) damaged[i] = '\0';
  expectRefused(ktstr(runWith({"--kernel", directory.file("damaged", damaged)})), 2,
                "kernel-payload-corrupt");
}

TEST(Usage, KernelThatCannotBeFetchedIsRefusedQuickly) {
  // A cache of its own, and a proxy where nobody listens: there is no network.
  const TemporaryDirectory cache;
  const Result result =
      ktstr(runWith({"--kernel", "debian:7.3"}),
            {.environment = {"KTSTR_CACHE_DIR=" + cache.path(), "http_proxy=http://127.0.0.1:9",
                             "https_proxy=http://127.0.0.1:9"}});
  expectRefused(result, 4, "kernel-unavailable");
  EXPECT_LT(result.seconds, 60);
}

TEST(Usage, KernelVersionThatDoesNotExist) {
  KTSTR_NEED_KERNEL("debian:7.3");
  expectRefused(ktstr(runWith({"--kernel", "debian:99.9"})), 2, "kernel-not-found");
}

TEST(Usage, SchedulerBinariesThatCannotRun) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory directory;
  expectRefused(ktstr(runWith({"--scheduler", directory.path() + "/missing"})), 2, "binary-missing");
  const std::string shell = readFile("/bin/true");
  expectRefused(ktstr(runWith({"--scheduler", directory.file("plain", shell, 0644)})), 2,
                "binary-not-executable");
  std::string foreign = shell;
  foreign[18] = '\xb7';  // e_machine = AArch64
  foreign[19] = '\0';
  expectRefused(ktstr(runWith({"--scheduler", directory.file("foreign", foreign, 0755)})), 2,
                "binary-wrong-architecture");
  std::string lacking = shell;  // its libc gets a name that no library has
  for (size_t at = 0; (at = lacking.find("libc.so.6", at)) != std::string::npos; at++)
    lacking.replace(at, 9, "libq.so.9");
  expectRefused(ktstr(runWith({"--scheduler", directory.file("lacking", lacking, 0755)})), 2,
                "library-missing", "libq.so.9");
}

TEST(Usage, AcceleratorThatIsNotThere) {
  KTSTR_NEED_KERNEL("debian:7.3");
  expectRefused(ktstr(runWith({"--accel", "kvm"})), 2, "accelerator-missing");
}

TEST(Usage, QemuThatIsMissingOrTooOld) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory directory;
  const std::string old =
      directory.file("qemu", "#!/bin/sh\necho 'QEMU emulator version 7.2.0 (Debian 1:7.2)'\n", 0755);
  expectRefused(ktstr(runWith({}), {.environment = {"KTSTR_QEMU=" + old}}), 4, "qemu-too-old", "7.2");
  expectRefused(ktstr(runWith({}), {.environment = {"KTSTR_QEMU=" + directory.path() + "/none"}}), 4,
                "qemu-missing");
}

TEST(Usage, CorruptCacheEntryIsQuarantinedNamedAndFetchedAgain) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const TemporaryDirectory directory;
  const TemporaryDirectory cache;
  const Options options{.environment = {"KTSTR_CACHE_DIR=" + cache.path()}};
  const std::string path = ktstr({"kernel", "path", "debian:7.3", "vmlinux"}).out;
  const std::string image = directory.file("vmlinux", readFile(path.substr(0, path.find('\n'))));
  ASSERT_EQ(ktstr({"kernel", "get", image}, options).exitCode, 0);
  std::string cached = ktstr({"kernel", "path", image, "vmlinux"}, options).out;
  cached = cached.substr(0, cached.find('\n'));
  chmod(cached.c_str(), 0600);
  const Fd file = openFile(cached, O_WRONLY);
  ASSERT_EQ(pwrite(file.get(), "damage", 6, 4096), 6);
  const Result verify = ktstr({"kernel", "verify"}, options);
  EXPECT_NE(verify.exitCode, 0);
  EXPECT_NE(verify.err.find("cache-entry-corrupt"), std::string::npos) << verify.err;
  EXPECT_NE(verify.err.find("quarantine"), std::string::npos) << verify.err;
  EXPECT_EQ(ktstr({"kernel", "get", image}, options).exitCode, 0);
  EXPECT_EQ(ktstr({"kernel", "verify"}, options).exitCode, 0);
}

}  // namespace
}  // namespace ktstr::testing
