#include "guest/boot/cpuid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "guest/boot/test_cpuid.h"
#include "protocol/error.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

const char* const shapes[] = {"1n1l1c1t",   "1n1l1c2t",    "1n2l2c2t", "2n4l2c1t",   "1n3l5c1t",
                              "4n8l4c2t",   "2n4l9c2t",    "1n7l3c3t", "2n2l128c2t", "1n1l512c1t",
                              "1n1l1c512t", "64n512l1c1t", "1n9l1c1t"};

void everywhere(const std::function<void(const Topology&, const Table& table)>& check) {
  for (const auto& [name, supported] : hosts()) {
    for (const char* shape : shapes) {
      SCOPED_TRACE(name + ", " + shape);
      const Topology topology = parseTopology(shape);
      check(topology, machineCpuid(topology, supported));
    }
  }
}

// CPUs by what `key` says of each, in ascending order.
using Groups = std::set<std::vector<uint32_t>>;
Groups group(const Topology& topology, const Table& table, const std::function<uint32_t(const Table&)>& key) {
  std::map<uint32_t, std::vector<uint32_t>> groups;
  for (uint32_t cpu = 0; cpu < topology.vcpus(); cpu++) {
    groups[key(patched(table, topology.apicId(cpu)))].push_back(cpu);
  }
  Groups all;
  for (const auto& [value, cpus] : groups) all.insert(cpus);
  return all;
}

Groups cores(const Topology& topology) {
  Groups all;
  for (uint32_t cpu = 0; cpu < topology.vcpus(); cpu += topology.threadsPerCore) {
    std::vector<uint32_t> threads;
    for (uint32_t i = 0; i < topology.threadsPerCore; i++) threads.push_back(cpu + i);
    all.insert(threads);
  }
  return all;
}

Groups llcs(const Topology& topology) {
  Groups all;
  for (uint32_t i = 0; i < topology.llcs; i++) all.insert(topology.cpusOfLlc(i));
  return all;
}

TEST(Cpuid, linuxFindsCoresAndPackages) {
  everywhere([](const Topology& topology, const Table& table) {
    EXPECT_EQ(group(topology, table, [](const Table& t) { return place(t).core(); }), cores(topology));
    EXPECT_EQ(group(topology, table, [](const Table& t) { return place(t).package(); }), llcs(topology));
    EXPECT_EQ(place(table).threads, topology.threadsPerCore);
    EXPECT_EQ(place(table).packageThreads, topology.cpusPerLlc());
  });
}

TEST(Cpuid, linuxFindsLastLevelCaches) {
  everywhere([](const Topology& topology, const Table& table) {
    EXPECT_EQ(group(topology, table, llc), llcs(topology));
  });
}

// By shifting APIC ids, and as Linux does it on AMD, by dividing them.
TEST(Cpuid, cachesAreSharedByCoreAndLlc) {
  everywhere([](const Topology& topology, const Table& table) {
    for (uint32_t index = 0; index < 4; index++) {
      const Groups expected = index == 3 ? llcs(topology) : cores(topology);
      const uint32_t count = sharing(cache(table, index));
      EXPECT_EQ(group(topology, table, [&](const Table& t) { return place(t).id >> order(count); }),
                expected);
      EXPECT_EQ(group(topology, table, [&](const Table& t) { return place(t).id / count; }), expected);
    }
    EXPECT_EQ(cache(table, 4).eax, 0u);
  });
}

TEST(Cpuid, everyLeafTellsTheSameId) {
  everywhere([](const Topology& topology, const Table& table) {
    const uint32_t id = topology.apicId(topology.vcpus() - 1);
    const Table last = patched(table, id);
    EXPECT_EQ(place(last).id, id);
    EXPECT_EQ(readLevels(last, 0xb).id, id);
    EXPECT_EQ(cpuid(last, 1).ebx >> 24, id & 0xff);
    if (!isIntel(last)) {
      EXPECT_EQ(cpuid(last, 0x8000001e).eax, id);
    }
    EXPECT_EQ(patched(table, topology.apicId(0)), table) << "the table is that of vCPU 0";
  });
}

// Fields of 6 and 8 bits cannot tell of all topologies.
TEST(Cpuid, oldLeavesAgreeWhereTheyAreWideEnough) {
  unsigned checked = 0;
  everywhere([&](const Topology& topology, const Table& table) {
    if (topology.apicId(topology.vcpus() - 1) > 255 || topology.coresPerLlc > 64) return;
    checked++;
    const auto core = [](const Table& t) { return placeByOldLeaves(t).core(); };
    const auto package = [](const Table& t) { return placeByOldLeaves(t).package(); };
    EXPECT_EQ(group(topology, table, core), cores(topology));
    EXPECT_EQ(group(topology, table, package), llcs(topology));
    if (!isIntel(table)) {
      EXPECT_EQ(placeByOldLeaves(table).packageThreads, topology.cpusPerLlc());
    }
  });
  EXPECT_GE(checked, 8 * hosts().size());
}

TEST(Cpuid, coreAndNodeOfAmdAreThoseOfThePackage) {
  const Topology topology = parseTopology("2n4l9c2t");
  const Table table = machineCpuid(topology, amd(0xa10f11, 0x80000028));
  for (uint32_t cpu = 0; cpu < topology.vcpus(); cpu++) {
    const CpuidLeaf leaf = cpuid(patched(table, topology.apicId(cpu)), 0x8000001e);
    EXPECT_EQ(leaf.ebx, 0x100 | cpu / 2 % 9);
    EXPECT_EQ(leaf.ecx, topology.llcOf(cpu)) << "and one node per package";
  }
}

// The decoder above would see it if the host's own topology came through.
TEST(Cpuid, theHostsTopologyWouldBeAnother) {
  const Topology topology = parseTopology("2n4l9c2t");
  for (const auto& [name, supported] : hosts()) {
    SCOPED_TRACE(name);
    EXPECT_NE(group(topology, supported, [](const Table& t) { return readLevels(t, 0xb).package(); }),
              llcs(topology));
    for (const CpuidLeaf& leaf : machineCpuid(topology, supported)) {
      EXPECT_NE(leaf.edx, 0x17u) << leaf.function;
      EXPECT_NE(leaf.ebx >> 24, 0x17u) << leaf.function;
    }
  }
}

// Whatever the host's CPU is.
TEST(Cpuid, dropsEveryLeafOfTheHostsTopology) {
  const Topology topology = parseTopology("2n4l9c2t");
  for (const auto& [name, supported] : hosts()) {
    for (const uint32_t function : {0x4u, 0xbu, 0x1fu, 0x8000000au, 0x8000001du, 0x8000001eu, 0x80000026u}) {
      SCOPED_TRACE(testing::Message() << name << std::hex << ", leaf 0x" << function);
      Table more = supported;
      for (uint32_t index = 0; index < 8; index++)
        more.push_back(indexed(function, index, 0x20, 1, 0x300, 0x17));
      EXPECT_EQ(machineCpuid(topology, more), machineCpuid(topology, supported));
    }
  }
}

TEST(Cpuid, isSortedAndHasNoLeafTwice) {
  everywhere([](const Topology&, const Table& table) {
    const auto before = [](const CpuidLeaf& a, const CpuidLeaf& b) {
      return std::pair(a.function, a.index) < std::pair(b.function, b.index);
    };
    const auto notBefore = [&](const CpuidLeaf& a, const CpuidLeaf& b) { return !before(a, b); };
    EXPECT_EQ(std::ranges::adjacent_find(table, notBefore), table.end());
    EXPECT_LE(table.size(), maxCpuidLeaves);
  });
  Table twice = newIntel();
  const size_t once = machineCpuid(Topology{}, twice).size();
  twice.push_back(plain(0x40000001, 0));
  EXPECT_EQ(machineCpuid(Topology{}, twice).size(), once);
  EXPECT_EQ(find(machineCpuid(Topology{}, twice), 0x40000001)->eax, 0x01007e7bu) << "the first counts";
}

TEST(Cpuid, keepsWhatIsNotTopology) {
  for (const auto& [name, supported] : hosts()) {
    SCOPED_TRACE(name);
    const Table table = machineCpuid(parseTopology("1n2l2c2t"), supported);
    for (const uint32_t function : {0x7u, 0xdu, 0x40000000u, 0x80000005u}) {
      for (const uint32_t index : {0u, 1u, 2u}) {
        const CpuidLeaf* const host = find(supported, function, index);
        const CpuidLeaf* const leaf = find(table, function, index);
        ASSERT_EQ(host == nullptr, leaf == nullptr) << function << " " << index;
        if (host != nullptr) {
          EXPECT_EQ(*host, *leaf);
        }
      }
    }
    for (const uint32_t at : {0u, 1u}) {
      EXPECT_EQ(find(table, at)->function, at);
      EXPECT_EQ(find(table, at)->indexed, false);
    }
    EXPECT_EQ(cpuid(table, 0).ebx, supported[0].ebx);
    EXPECT_EQ(cpuid(table, 0).ecx, supported[0].ecx);
    EXPECT_EQ(cpuid(table, 0).edx, supported[0].edx);
    EXPECT_EQ(cpuid(table, 1).eax, supported[1].eax);
    EXPECT_EQ(cpuid(table, 1).ebx & 0xffff, 0x0800u) << "CLFLUSH size";
    EXPECT_EQ(cpuid(table, 0x80000008).eax, 0x302eu) << "address sizes";
    EXPECT_EQ(cpuid(table, 0x80000008).ebx, 0x200u);
  }
}

TEST(Cpuid, featuresOfAMachine) {
  for (const auto& [name, supported] : hosts()) {
    SCOPED_TRACE(name);
    const Table one = machineCpuid(Topology{}, supported);
    const Table four = machineCpuid(parseTopology("1n2l2c2t"), supported);
    EXPECT_EQ(cpuid(four, 1).ecx, (featuresEcx & ~(1u << 5)) | 1u << 31) << "hypervisor, no VMX";
    EXPECT_EQ(cpuid(one, 1).edx, featuresEdx & ~(1u << 28)) << "no HTT";
    EXPECT_EQ(cpuid(four, 1).edx, featuresEdx);
    EXPECT_EQ(cpuid(one, 1).ebx >> 16, 1u);
    EXPECT_EQ(cpuid(four, 1).ebx >> 16, 4u);
    const uint32_t amdOnly = isIntel(one) ? 0 : 1u << 22;  // TOPOEXT
    EXPECT_EQ(cpuid(one, 0x80000001).ecx, 1u << 5 | amdOnly);
    EXPECT_EQ(cpuid(four, 0x80000001).ecx, 1u << 5 | amdOnly | (isIntel(one) ? 0 : 1u << 1));
    Table nesting = supported;
    for (CpuidLeaf& leaf : nesting) leaf.ecx |= leaf.function == 0x80000001 ? 1u << 2 : 0;
    EXPECT_EQ(machineCpuid(Topology{}, nesting), one) << "no SVM";
    EXPECT_EQ(find(one, 0x8000000a), nullptr);
  }
}

TEST(Cpuid, wideCountsAreCapped) {
  const Table intel = machineCpuid(parseTopology("1n1l512c1t"), newIntel());
  EXPECT_EQ(cpuid(intel, 1).ebx >> 16, 255u);
  EXPECT_EQ(cpuid(intel, 4, 3).eax >> 26, 63u);
  EXPECT_EQ(sharing(cpuid(intel, 4, 3)), 512u);
  const Table threads = machineCpuid(parseTopology("1n1l1c512t"), amd(0xa10f11, 0x80000028));
  EXPECT_EQ(cpuid(threads, 0x80000008).ecx, 9u << 12 | 255u);
  EXPECT_EQ(cpuid(threads, 0x8000001e).ebx, 255u << 8);
}

TEST(Cpuid, leavesOfTheVendorOnly) {
  const auto functions = [](const Table& supported) {
    std::set<uint32_t> found;
    for (const CpuidLeaf& leaf : machineCpuid(parseTopology("1n2l2c2t"), supported))
      found.insert(leaf.function);
    return found;
  };
  const std::set<uint32_t> all = {0x0,        0x1,        0x7,        0xb,        0xd,
                                  0x40000000, 0x40000001, 0x80000000, 0x80000001, 0x80000008};
  const auto with = [&](std::set<uint32_t> more) {
    more.insert(all.begin(), all.end());
    return more;
  };
  EXPECT_EQ(functions(newIntel()), with({0x4, 0x1f}));
  EXPECT_EQ(functions(oldIntel()), with({0x4}));
  const std::set<uint32_t> amdLeaves = with({0x80000005, 0x80000006, 0x8000001d, 0x8000001e});
  EXPECT_EQ(functions(amd(0x800f11, 0x8000001f)), amdLeaves);
  EXPECT_EQ(functions(amd(0x900f01, 0x8000001f, "HygonGenuine")), amdLeaves);
  std::set<uint32_t> newest = amdLeaves;
  newest.insert(0x80000026);
  EXPECT_EQ(functions(amd(0xa10f11, 0x80000026)), newest);
}

TEST(Cpuid, highestLeavesReachWhatIsThere) {
  const auto highest = [](const Table& supported, uint32_t function) {
    return find(machineCpuid(Topology{}, supported), function)->eax;
  };
  EXPECT_EQ(highest(newIntel(), 0), 0x20u) << "never lowered";
  EXPECT_EQ(highest(oldIntel(), 0), 0xbu);
  EXPECT_EQ(highest(oldIntel(), 0x80000000), 0x80000008u);
  EXPECT_EQ(highest(amd(0x600f20, 0x8000001a), 0x80000000), 0x8000001eu);
  EXPECT_EQ(highest(amd(0xa10f11, 0x80000028), 0x80000000), 0x80000028u);
}

TEST(Cpuid, cacheSizesAreTheHosts) {
  const auto bytes = [](const CpuidLeaf& leaf) {
    return uint64_t{(leaf.ebx >> 22) + 1} * ((leaf.ebx & 0xfff) + 1) * (leaf.ecx + 1);
  };
  const uint64_t expected[3][4] = {{48 << 10, 32 << 10, 2 << 20, 105 << 20},
                                   {32 << 10, 32 << 10, 1 << 20, 32 << 20},
                                   {32 << 10, 32 << 10, 1 << 20, 16 << 20}};
  const Table tables[3] = {machineCpuid(Topology{}, newIntel()),
                           machineCpuid(Topology{}, amd(0xa10f11, 0x80000028)),
                           machineCpuid(Topology{}, oldIntel())};
  const uint32_t kinds[] = {0x121, 0x122, 0x143, 0x163};
  for (size_t host = 0; host < 3; host++) {
    for (uint32_t index = 0; index < 4; index++) {
      EXPECT_EQ(bytes(cache(tables[host], index)), expected[host][index]) << host << " " << index;
      EXPECT_EQ(cache(tables[host], index).eax, kinds[index]) << host << " " << index;
    }
  }
  EXPECT_EQ(cache(tables[0], 3).edx, 4u) << "complex indexing";
}

void expectInvalid(const Table& supported, const std::string& evidence, bool realTimeHints = false) {
  try {
    machineCpuid(Topology{}, supported, realTimeHints);
    ADD_FAILURE() << "no error: " << evidence;
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "cpuid-invalid");
    EXPECT_EQ(error.code(), ExitCode::infrastructure);
    EXPECT_THAT(error.message(), HasSubstr(evidence));
    EXPECT_NE(error.hint(), "");
  }
}

TEST(Cpuid, refusesWhatNoHostOffers) {
  expectInvalid({}, "leaf 0x0 is not among the 0 offered");
  for (const uint32_t function : {0x1u, 0x80000000u, 0x80000001u, 0x80000008u}) {
    Table lacking = newIntel();
    std::erase_if(lacking, [&](const CpuidLeaf& leaf) { return leaf.function == function; });
    expectInvalid(lacking, "is not among the " + std::to_string(lacking.size()) + " offered");
  }
  Table noHints = newIntel();
  std::erase_if(noHints, [](const CpuidLeaf& leaf) { return leaf.function == 0x40000001; });
  EXPECT_EQ(find(machineCpuid(Topology{}, noHints), 0x40000001), nullptr);
  expectInvalid(noHints, "KVM_HINTS_REALTIME", true);
  Table other = newIntel();
  setVendor(other, "CentaurHauls");
  expectInvalid(other, "\"CentaurHauls\"");
  Table many = newIntel();
  for (uint32_t index = 0; index < 250; index++) many.push_back(indexed(0x14, index, 0));
  expectInvalid(many, "KVM takes 256");
  EXPECT_THROW(machineCpuid(Topology{.nodes = 1, .llcs = 0}, newIntel()), Error);
}

TEST(Cpuid, tellsOfRealTimeAndOfLargeApicIds) {
  const Table plain = machineCpuid(Topology{}, newIntel());
  EXPECT_EQ(find(plain, 0x40000001)->edx & 1, 0u);
  EXPECT_EQ(find(plain, 0x40000001)->eax >> 7 & 1, 0u);
  EXPECT_EQ(find(plain, 0x40000001)->eax >> 15 & 1, find(newIntel(), 0x40000001)->eax >> 15 & 1);
  EXPECT_EQ(find(machineCpuid(Topology{}, newIntel(), true), 0x40000001)->edx & 1, 1u);
  const Topology wide = parseTopology("1n5l5c5t");
  EXPECT_GT(wide.apicId(wide.vcpus() - 1), 254u);
  EXPECT_EQ(find(machineCpuid(wide, newIntel()), 0x40000001)->eax >> 15 & 1, 1u);
  // KVM offers it, too, on some hosts alone (KVM_CAP_TSC_DEADLINE_TIMER tells).
  Table host = newIntel();
  std::ranges::find(host, 1u, &CpuidLeaf::function)->ecx &= ~(1u << 24);
  EXPECT_EQ(find(machineCpuid(wide, host), 1)->ecx >> 24 & 1, 1u);
  EXPECT_EQ(find(machineCpuid(parseTopology("1n2l2c2t"), host), 1)->ecx >> 24 & 1, 0u);
}

TEST(Cpuid, leavesOfAVcpuAreThoseThatTellItAndNoOthers) {
  const Table table = machineCpuid(parseTopology("2n8l8c4t"), amd(0xa10f11, 0x80000028));
  const uint32_t id = 7 << 5 | 3 << 2 | 1;
  const Table own = vcpuCpuid(table, id);
  std::set<uint32_t> functions;
  for (const CpuidLeaf& leaf : own) {
    functions.insert(leaf.function);
    CpuidLeaf as = leaf;
    const CpuidLeaf& machines = *find(table, leaf.function, leaf.index);
    switch (leaf.function) {
      case 0x1:
        EXPECT_EQ(leaf.ebx, (machines.ebx & 0xffffff) | id << 24);
        as.ebx = machines.ebx;
        break;
      case 0x8000001e:
        EXPECT_EQ(leaf.eax, id);
        EXPECT_EQ(leaf.ebx & 0xff, 3u);
        EXPECT_EQ(leaf.ecx & 0xff, 7u);
        as.eax = machines.eax;
        as.ebx = (leaf.ebx & ~0xffu) | (machines.ebx & 0xff);
        as.ecx = (leaf.ecx & ~0xffu) | (machines.ecx & 0xff);
        break;
      default:
        EXPECT_EQ(leaf.edx, id);
        as.edx = machines.edx;
    }
    EXPECT_EQ(as, machines) << std::hex << leaf.function;
  }
  EXPECT_EQ(functions, (std::set<uint32_t>{0x1, 0xb, 0x8000001e, 0x80000026}));
  EXPECT_TRUE(std::ranges::none_of(table, [&](const CpuidLeaf& leaf) {
    return tellsVcpu(leaf.function) && find(own, leaf.function, leaf.index) == nullptr;
  }));
}

}  // namespace
}  // namespace ktstr
