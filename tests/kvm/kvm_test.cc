// Whole runs on KVM: real kernels, ktstr-vmm on the real /dev/kvm. Where /dev/kvm cannot boot Linux, `make
// check-kvm` runs this inside the nested bed (tests/tools/nested-bed.sh).
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <ostream>
#include <string>

#include "guest/topology.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

struct Case {
  const char* name;
  const char* kernel;
  const char* topology;
};

void PrintTo(const Case& test, std::ostream* out) {
  *out << test.name;
}

// Why Linux cannot run on /dev/kvm here, or nothing.
std::optional<std::string> whyNoKvm() {
  static const std::string line = ktstr({"--probe"}, {.program = "ktstr-vmm"}).out;
  if (line.find("\"kvm\":\"hardware\"") != std::string::npos) return std::nullopt;
  return "/dev/kvm boots no Linux here (make check-kvm makes one that does): " + line;
}

#define KTSTR_NEED_KVM()                \
  if (const auto reason = whyNoKvm()) { \
    GTEST_SKIP() << *reason;            \
  }

Result run(const std::string& scenarioName, std::vector<std::string> words) {
  words.insert(words.begin(), {"run", scenario(scenarioName), "--accel", "kvm", "--format", "jsonl",
                               "--boot-timeout", "180s"});
  return ktstr(words, {.timeoutSeconds = 240});
}

class Kvm : public ::testing::TestWithParam<Case> {};

TEST_P(Kvm, BootsAndSeesTheDeclaredTopology) {
  KTSTR_NEED_KVM();
  KTSTR_NEED_KERNEL(GetParam().kernel);
  const Topology topology = parseTopology(GetParam().topology);
  const Result result =
      run("basic", {"--kernel", GetParam().kernel, "--topology", GetParam().topology, "--duration", "500ms"});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  EXPECT_STREQ(record->getAccelerator().cStr(), "kvm");
  EXPECT_NE(record->getVerdict().getOutcome(), rpc::Outcome::INFRASTRUCTURE) << record.findings();
  EXPECT_EQ(record->getGuest().getCpusOnline(), topology.vcpus()) << record.findings();
  ASSERT_EQ(record->getGuest().getLlcCpulists().size(), topology.llcs);
  for (uint32_t llc = 0; llc < topology.llcs; llc++) {
    EXPECT_EQ(record->getGuest().getLlcCpulists()[llc].cStr(), cpuList(topology.cpusOfLlc(llc)));
  }
  ASSERT_EQ(record->getGuest().getNodeCpulists().size(), topology.nodes);
  for (uint32_t node = 0; node < topology.nodes; node++) {
    EXPECT_EQ(record->getGuest().getNodeCpulists()[node].cStr(), cpuList(topology.cpusOfNode(node)));
  }
  // The monitor found the kernel in the memory of a VM whose engine it has never met.
  EXPECT_STREQ(record->getMonitorAttach().getRelease().cStr(), record->getGuest().getRelease().cStr());
  EXPECT_GT(record->getMonitor().getValidSamples(), 0u);
  EXPECT_TRUE(descendants().empty());
}

INSTANTIATE_TEST_SUITE_P(Debian, Kvm,
                         ::testing::Values(Case{"V73Vcpus1", "debian:7.3", "1n1l1c1t"},
                                           Case{"V73Vcpus2", "debian:7.3", "1n2l1c1t"},
                                           Case{"V73Vcpus4", "debian:7.3", "2n2l1c2t"},
                                           Case{"V618Vcpus1", "debian:6.18", "1n1l1c1t"},
                                           Case{"V618Vcpus4", "debian:6.18", "1n2l1c2t"}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(KvmRun, SchedExtSchedulerIsAttachedAndSeen) {
  KTSTR_NEED_KVM();
  KTSTR_NEED_KERNEL("debian:7.3");
  // Inside the nested bed no scheduler can be built; one comes along.
  const char* built = getenv("KTSTR_TEST_SCX_SIMPLE");
  if (built == nullptr) {
    KTSTR_NEED_SCHEDULER("scx_simple");
  }
  const Result result =
      run("basic", {"--kernel", "debian:7.3", "--topology", "1n2l1c1t", "--scheduler",
                    built != nullptr ? built : "scx_simple", "--duration", "1s", "--attach-timeout", "60s"});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  EXPECT_NE(record->getVerdict().getOutcome(), rpc::Outcome::INFRASTRUCTURE) << record.findings();
  EXPECT_STREQ(record->getSchedulerOps().cStr(), "simple") << record.findings();
  EXPECT_GT(record->getMonitor().getScxEnabledSamples(), 0u) << record.findings();
  for (auto worker : record->getWorkers()) EXPECT_GT(worker.getIterations(), 0u);
}

}  // namespace
}  // namespace ktstr::testing
