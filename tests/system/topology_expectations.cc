#include "tests/system/topology_expectations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <sstream>

#include "protocol/file.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

std::vector<std::string> strings(capnp::List<capnp::Text>::Reader list) {
  std::vector<std::string> all;
  for (const auto text : list) all.push_back(text.cStr());
  return all;
}

std::vector<uint32_t> numbers(capnp::List<uint32_t>::Reader list) {
  std::vector<uint32_t> all;
  for (const uint32_t number : list) all.push_back(number);
  return all;
}

void expectCpus(const Topology& topology, rpc::GuestFacts::Reader guest) {
  std::vector<std::string> llcs, cores;
  std::vector<uint32_t> packageIds, coreIds;
  for (uint32_t llc = 0; llc < topology.llcs; llc++) llcs.push_back(cpuList(topology.cpusOfLlc(llc)));
  const uint32_t threads = topology.threadsPerCore;
  for (uint32_t cpu = 0; cpu < topology.vcpus(); cpu++) {
    packageIds.push_back(topology.llcOf(cpu));  // one package per LLC
    coreIds.push_back(cpu / threads % topology.coresPerLlc);
    if (cpu % threads != 0) continue;
    std::vector<uint32_t> siblings;
    for (uint32_t thread = 0; thread < threads; thread++) siblings.push_back(cpu + thread);
    cores.push_back(cpuList(siblings));
  }
  EXPECT_EQ(guest.getCpusOnline(), topology.vcpus());
  EXPECT_EQ(strings(guest.getLlcCpulists()), llcs);
  EXPECT_EQ(strings(guest.getCoreCpulists()), cores);
  EXPECT_EQ(numbers(guest.getPackageIds()), packageIds);
  EXPECT_EQ(numbers(guest.getCoreIds()), coreIds);
}

// The kernel keeps page structures, its own text and data (on node 0) and per-CPU areas; the last node also
// has the image's base.
void expectMemory(const Topology& topology, uint32_t node, uint64_t memoryMib, uint64_t kib) {
  const uint64_t declared =
      1024 * (topology.shapes.empty() ? memoryMib / topology.nodes : topology.shapes[node].memoryMib);
  EXPECT_LE(kib, declared + (node + 1 == topology.nodes ? 16 * 1024 : 0)) << "of node " << node;
  EXPECT_GE(kib, declared - declared / 8 - (node == 0 ? 80 * 1024 : 0)) << "of node " << node;
}

void expectNodes(const Topology& topology, uint32_t memoryMib, rpc::GuestFacts::Reader guest) {
  std::vector<std::string> lists;
  for (uint32_t node = 0; node < topology.nodes; node++) lists.push_back(cpuList(topology.cpusOfNode(node)));
  EXPECT_EQ(strings(guest.getNodeCpulists()), lists);
  ASSERT_EQ(guest.getNodes().size(), topology.nodes);
  for (uint32_t node = 0; node < topology.nodes; node++) {
    const auto facts = guest.getNodes()[node];
    std::vector<uint32_t> distances, initiators;
    for (uint32_t to = 0; to < topology.nodes; to++) distances.push_back(topology.distance(node, to));
    if (topology.nodes > 1) initiators.push_back(topology.initiatorOf(node));  // otherwise there is no HMAT
    EXPECT_EQ(numbers(facts.getDistances()), distances) << "of node " << node;
    EXPECT_EQ(numbers(facts.getInitiators()), initiators) << "of node " << node;
    expectMemory(topology, node, memoryMib, facts.getMemTotalKib());
  }
}

// All nodes with CPUs are the first tier, all others slower ones.
void expectTiers(const Topology& topology, const std::vector<std::string>& tiers) {
  std::vector<uint32_t> fast, slow, seenSlow;
  for (uint32_t node = 0; node < topology.nodes; node++) {
    (topology.memoryOnly(node) ? slow : fast).push_back(node);
  }
  ASSERT_FALSE(tiers.empty());
  EXPECT_EQ(tiers[0], cpuList(fast));
  for (size_t tier = 1; tier < tiers.size(); tier++) {
    for (const uint32_t node : parseCpuList(tiers[tier])) seenSlow.push_back(node);
  }
  EXPECT_EQ(cpuList(seenSlow), cpuList(slow));
}

// "CPU,Core,Socket,Node,,L1d,L1i,L2,L3", all of them numbers; the last one is some number of the LLC's.
void expectLscpu(const Topology& topology, const std::string& output) {
  std::istringstream lines(output);
  std::map<uint32_t, std::string> l3Ids;
  uint32_t cpu = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::replace(line.begin(), line.end(), ':', ',');
    std::ostringstream expected;
    expected << cpu << ',' << cpu / topology.threadsPerCore << ',' << topology.llcOf(cpu) << ','
             << topology.nodeOf(cpu) << ',';
    EXPECT_EQ(line.substr(0, expected.str().size()), expected.str());
    const std::string l3 = line.substr(line.rfind(',') + 1);
    EXPECT_EQ(l3Ids.try_emplace(topology.llcOf(cpu), l3).first->second, l3) << line;
    cpu++;
  }
  EXPECT_EQ(cpu, topology.vcpus()) << output;
  std::vector<std::string> distinct;
  for (const auto& [llc, id] : l3Ids) distinct.push_back(id);
  std::sort(distinct.begin(), distinct.end());
  EXPECT_EQ(std::adjacent_find(distinct.begin(), distinct.end()), distinct.end()) << output;
}

}  // namespace

std::string nameOfTopology(const std::string& topology) {
  std::string name;
  for (const char c : topology) name += isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

void expectFacts(const Topology& topology, uint32_t memoryMib, rpc::GuestFacts::Reader guest) {
  expectCpus(topology, guest);
  expectNodes(topology, memoryMib, guest);
  expectTiers(topology, strings(guest.getMemoryTiers()));
}

std::optional<std::string> whyTooBig(const std::string& topology) {
  const uint32_t vcpus = parseTopology(topology).vcpus();
  const char* limit = getenv("KTSTR_TEST_VCPUS");
  if (limit == nullptr || vcpus <= strtoul(limit, nullptr, 10)) return std::nullopt;
  return std::to_string(vcpus) + " vCPUs are more than the " + limit +
         " of KTSTR_TEST_VCPUS; make check-kvm boots them all";
}

// lscpu takes the place of the scheduler: what that prints is kept, and the run ends with it. On a KVM that
// is itself emulated many CPUs come online one by one once init runs. Only what the kernel makes of nodes
// without CPUs while it boots differs then: the tiers of their memory.
void expectGuestSees(const std::string& topology, const std::string& accelerator) {
  const TemporaryDirectory state;
  const Topology declared = parseTopology(topology);
  const bool late = accelerator == "kvm" && getenv("KTSTR_TEST_NESTED") != nullptr && declared.vcpus() > 8;
  std::vector<std::string> words = {
      "run",     scenario("basic"), "--kernel",       "debian:7.3", "--topology", topology,
      "--accel", accelerator,       "--boot-timeout", "540s",       "--format",   "jsonl"};
  if (late) words.insert(words.end(), {"--append", "maxcpus=1 ktstr.late_cpus"});
  words.insert(words.end(), {"--scheduler", "lscpu", "--", "--parse=CPU,CORE,SOCKET,NODE,CACHE"});
  const Result result =
      ktstr(words, {.environment = {"KTSTR_STATE_DIR=" + state.path()}, .timeoutSeconds = 600});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  EXPECT_STREQ(record->getAccelerator().cStr(), accelerator.c_str());
  EXPECT_STREQ(record->getTopology().cStr(), topology.c_str());
  ASSERT_EQ(record->getGuest().getCpusOnline(), declared.vcpus()) << record.findings() << result.err;
  expectCpus(declared, record->getGuest());
  expectNodes(declared, record->getMemoryMib(), record->getGuest());
  if (!late) expectTiers(declared, strings(record->getGuest().getMemoryTiers()));
  const std::string directory = record->getDirectory().cStr();
  expectLscpu(declared, readFileIfThere(directory + "/scheduler.log").value_or(""));
}

}  // namespace ktstr::testing
