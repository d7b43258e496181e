#include "guest/boot/acpi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "guest/boot/test_bytes.h"

namespace ktstr {
namespace {

using testing::ElementsAre;
using Bytes = std::span<const std::byte>;

// Follows RSDP and XSDT as a kernel does, checking every signature, length and checksum on the way.
class Tables {
 public:
  explicit Tables(const Topology& topology, uint64_t memory = gib, Chipset chipset = Chipset::pc)
      : plan_(planMemory(memory, mib, mib, mib)),
        nodes_(splitOverNodes(plan_, topology)),
        acpi_(buildAcpi(topology, nodes_, acpiGpa, chipset)) {
    const Bytes rsdp = at(acpi_.rsdpGpa).first(36);
    EXPECT_EQ(textAt(rsdp, 0, 8), "RSD PTR ");
    EXPECT_EQ(byteSum(rsdp.first(20)), 0);
    EXPECT_EQ(byteSum(rsdp), 0);
    EXPECT_EQ(numberAt<uint8_t>(rsdp, 15), 2);
    const Bytes xsdt = table(numberAt<uint64_t>(rsdp, 24), "XSDT");
    for (size_t i = 36; i < xsdt.size(); i += 8) {
      const auto gpa = numberAt<uint64_t>(xsdt, i);
      const std::string signature = textAt(at(gpa), 0, 4);
      tables_[signature] = table(gpa, signature);
    }
  }

  Bytes at(uint64_t gpa) const {
    EXPECT_GE(gpa, acpiGpa);
    return Bytes(acpi_.bytes).subspan(gpa - acpiGpa);
  }
  Bytes table(uint64_t gpa, const std::string& signature) const {
    const Bytes bytes = at(gpa).first(numberAt<uint32_t>(at(gpa), 4));
    EXPECT_EQ(textAt(bytes, 0, 4), signature);
    EXPECT_EQ(byteSum(bytes), 0) << signature;
    return bytes;
  }
  Bytes operator[](const std::string& signature) const { return tables_.at(signature); }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : tables_) names.push_back(name);
    return names;
  }
  const std::vector<NodeRange>& nodes() const { return nodes_; }
  size_t size() const { return acpi_.bytes.size(); }

 private:
  MemoryPlan plan_;
  std::vector<NodeRange> nodes_;
  AcpiTables acpi_;
  std::map<std::string, Bytes> tables_;
};

// The structures of a table with (type, length) bytes from `start`.
std::vector<Bytes> structures(Bytes table, size_t start) {
  std::vector<Bytes> found;
  for (size_t i = start; i < table.size(); i += numberAt<uint8_t>(table, i + 1)) {
    found.push_back(table.subspan(i, numberAt<uint8_t>(table, i + 1)));
  }
  return found;
}

TEST(Acpi, oneNodeNeedsNoNumaTables) {
  EXPECT_THAT(Tables(parseTopology("1n2l2c2t")).names(), ElementsAre("APIC", "FACP", "HPET"));
  EXPECT_THAT(Tables(parseTopology("2n2l2c2t")).names(),
              ElementsAre("APIC", "FACP", "HMAT", "HPET", "SLIT", "SRAT"));
}

TEST(Acpi, fadtPointsToFirmwareAndResetsByKeyboardController) {
  const Tables tables(Topology{});
  const Bytes fadt = tables["FACP"];
  ASSERT_EQ(fadt.size(), 276u);
  EXPECT_EQ(textAt(tables.at(numberAt<uint32_t>(fadt, 36)), 0, 4), "FACS");
  EXPECT_EQ(numberAt<uint32_t>(fadt, 36) % 64, 0u);
  EXPECT_EQ(numberAt<uint64_t>(fadt, 140), numberAt<uint32_t>(fadt, 40));
  tables.table(numberAt<uint64_t>(fadt, 140), "DSDT");
  EXPECT_EQ(numberAt<uint16_t>(fadt, 46), 9);                 // SCI
  EXPECT_EQ(numberAt<uint32_t>(fadt, 112) & (1u << 20), 0u);  // not hardware reduced
  EXPECT_NE(numberAt<uint32_t>(fadt, 112) & (1u << 10), 0u);  // RESET_REG_SUP
  EXPECT_EQ(numberAt<uint8_t>(fadt, 116), 1);                 // I/O space
  EXPECT_EQ(numberAt<uint64_t>(fadt, 120), 0x64u);
  EXPECT_EQ(numberAt<uint8_t>(fadt, 128), 0xfe);
  EXPECT_LT(numberAt<uint64_t>(fadt, 152), acpiGpa + 4096);  // X_PM1a_EVT_BLK: in the NVS page
  EXPECT_EQ(numberAt<uint64_t>(tables["HPET"], 44), 0xfed00000u);
}

TEST(Acpi, sleepStateS5IsPortOfPowerOff) {
  const Tables tables(Topology{});
  const Bytes fadt = tables["FACP"];
  EXPECT_EQ(numberAt<uint8_t>(fadt, 172), 1);  // X_PM1a_CNT_BLK: I/O space
  EXPECT_EQ(numberAt<uint64_t>(fadt, 176), 0x604u);
  EXPECT_EQ(numberAt<uint8_t>(fadt, 89), 2);  // PM1_CNT_LEN
  const Bytes dsdt = tables.table(numberAt<uint64_t>(fadt, 140), "DSDT");
  EXPECT_EQ(textAt(dsdt, 36, 9), std::string("\x08_S5_\x12\x06\x04\0", 9));
  EXPECT_EQ(dsdt.size(), 36u + 12);
}

TEST(Acpi, madtListsCpusIoApicAndOverrides) {
  Tables tables(parseTopology("1n2l3c1t"));
  const std::vector<Bytes> entries = structures(tables["APIC"], 44);
  ASSERT_EQ(entries.size(), 6u + 4);
  std::vector<int> ids;
  for (size_t i = 0; i < 6; i++) {
    EXPECT_EQ(numberAt<uint8_t>(entries[i], 0), 0);
    EXPECT_EQ(numberAt<uint8_t>(entries[i], 2), i);
    ids.push_back(numberAt<uint8_t>(entries[i], 3));
  }
  EXPECT_THAT(ids, ElementsAre(0, 1, 2, 4, 5, 6));
  EXPECT_EQ(numberAt<uint8_t>(entries[6], 0), 1);
  EXPECT_EQ(numberAt<uint32_t>(entries[6], 4), 0xfec00000u);
  EXPECT_EQ(numberAt<uint8_t>(entries[7], 3), 0);
  EXPECT_EQ(numberAt<uint32_t>(entries[7], 4), 2u);
  EXPECT_EQ(numberAt<uint8_t>(entries[8], 3), 9);
  EXPECT_EQ(numberAt<uint16_t>(entries[8], 8), 0xd);
}

// As iasl -d shows it:
//   Scope (\_SB) { Device (COM2) { Name (_HID, EisaId ("PNP0501")) Name (_UID, One) Name (_CRS,
//   ResourceTemplate () {
//     IO (Decode16, 0x02F8, 0x02F8, 0x00, 0x08, ) IRQNoFlags () {3} }) } }
TEST(Acpi, withoutALegacyChipsetSerialPortsTellTheirLines) {
  const Tables tables(parseTopology("1n5l5c5t"), gib, Chipset::none);
  EXPECT_THAT(tables.names(), ElementsAre("APIC", "FACP"));
  EXPECT_EQ(numberAt<uint32_t>(tables["APIC"], 40) & 1, 0u) << "PCAT_COMPAT: 8259s";
  for (const Bytes entry : structures(tables["APIC"], 44)) {
    const bool isOverride = numberAt<uint8_t>(entry, 0) == 2;
    EXPECT_FALSE(isOverride && numberAt<uint8_t>(entry, 3) == 0) << "ISA IRQ 0 is the 8254's";
  }
  const Bytes dsdt = tables.table(numberAt<uint64_t>(tables["FACP"], 140), "DSDT");
  ASSERT_EQ(dsdt.size(), 36u + 12 + 2 * 53);
  EXPECT_EQ(textAt(dsdt, 48 + 53, 53),
            std::string("\x10\x34\\_SB_\x5b\x82\x2c"
                        "COM2\x08_HID\x0c\x41\xd0\x05\x01\x08_UID\x0a\x01\x08_CRS\x11\x10\x0a\x0d"
                        "\x47\x01\xf8\x02\xf8\x02\x00\x08\x22\x08\x00\x79\x00",
                        53));
}

TEST(Acpi, kvmsChipsetLacksTheClocksAlone) {
  const Tables tables(parseTopology("1n2l2c2t"), gib, Chipset::kvm);
  EXPECT_THAT(tables.names(), ElementsAre("APIC", "FACP"));
  EXPECT_EQ(numberAt<uint32_t>(tables["APIC"], 40) & 1, 1u);
  const auto noCmosClock = [](const Tables& of) { return numberAt<uint16_t>(of["FACP"], 109) >> 5 & 1; };
  EXPECT_EQ(noCmosClock(tables), 1);
  EXPECT_EQ(noCmosClock(Tables(parseTopology("1n2l2c2t"), gib, Chipset::none)), 1);
  EXPECT_EQ(noCmosClock(Tables(parseTopology("1n2l2c2t"))), 0);
  EXPECT_EQ(tables.table(numberAt<uint64_t>(tables["FACP"], 140), "DSDT").size(), 36u + 12);
}

TEST(Acpi, largeIdsGetX2ApicEntries) {
  const Topology topology = parseTopology("64n512l1c1t");
  const Tables tables(topology, 64 * gib);
  EXPECT_LE(tables.size(), acpiEnd - acpiGpa);
  size_t local = 0, x2 = 0;
  for (const Bytes entry : structures(tables["APIC"], 44)) {
    local += numberAt<uint8_t>(entry, 0) == 0;
    if (numberAt<uint8_t>(entry, 0) != 9) continue;
    EXPECT_EQ(numberAt<uint32_t>(entry, 4), 255 + x2);
    x2++;
  }
  EXPECT_EQ(local, 255u);
  EXPECT_EQ(x2, 257u);
}

TEST(Acpi, sratGivesCpusAndMemoryToNodes) {
  const Topology topology = parseTopology("2n4l2c1t");
  const Tables tables(topology, 3 * gib);
  uint32_t cpu = 0;
  std::vector<Range> memory[2];
  for (const Bytes entry : structures(tables["SRAT"], 48)) {
    if (numberAt<uint8_t>(entry, 0) == 2) {
      EXPECT_EQ(numberAt<uint32_t>(entry, 4), topology.nodeOf(cpu));
      EXPECT_EQ(numberAt<uint32_t>(entry, 8), topology.apicId(cpu++));
    } else {
      EXPECT_EQ(numberAt<uint32_t>(entry, 28), 1u);  // enabled
      memory[numberAt<uint32_t>(entry, 2)].push_back(
          {numberAt<uint64_t>(entry, 8), numberAt<uint64_t>(entry, 16)});
    }
  }
  EXPECT_EQ(cpu, 8u);
  EXPECT_THAT(memory[0], ElementsAre(Range{0, 1536 * mib}));
  EXPECT_THAT(memory[1], ElementsAre(Range{1536 * mib, 512 * mib}, Range{4 * gib, gib + 2 * mib}));
}

// Nodes that have nothing in common, one of them across the hole.
TEST(Acpi, sratFollowsDeclaredNodes) {
  const Topology topology = parseTopology("1l256M,2l2048M,0l512M,2c1t");
  const Tables tables(topology, 2816 * mib);
  std::vector<uint32_t> nodesOfCpus;
  std::vector<std::pair<uint32_t, Range>> memory;
  for (const Bytes entry : structures(tables["SRAT"], 48)) {
    if (numberAt<uint8_t>(entry, 0) == 2) {
      nodesOfCpus.push_back(numberAt<uint32_t>(entry, 4));
    } else {
      memory.push_back(
          {numberAt<uint32_t>(entry, 2), {numberAt<uint64_t>(entry, 8), numberAt<uint64_t>(entry, 16)}});
    }
  }
  EXPECT_THAT(nodesOfCpus, ElementsAre(0, 0, 1, 1, 1, 1));
  const auto behind = 2 * mib;  // base and mailbox
  EXPECT_THAT(memory,
              ElementsAre(std::pair(0u, Range{0, 256 * mib}), std::pair(1u, Range{256 * mib, 1792 * mib}),
                          std::pair(1u, Range{4 * gib, 256 * mib}),
                          std::pair(2u, Range{4 * gib + 256 * mib, 512 * mib + behind})));
}

TEST(Acpi, slitGivesDistances) {
  const auto slitOf = [](const char* topology) {
    const Tables tables(parseTopology(topology));
    const Bytes slit = tables["SLIT"];
    const auto nodes = numberAt<uint64_t>(slit, 36);
    EXPECT_EQ(slit.size(), 44 + nodes * nodes);
    std::vector<int> entries;
    for (size_t i = 44; i < slit.size(); i++) entries.push_back(numberAt<uint8_t>(slit, i));
    return entries;
  };
  EXPECT_THAT(slitOf("2n2l1c1t"), ElementsAre(10, 20, 20, 10));
  EXPECT_THAT(slitOf("1l512M,1l256M,0l256M,1c1t,1-2:28,0-2:32"),
              ElementsAre(10, 20, 32, 20, 10, 28, 32, 28, 10));
}

// What HMAT says of each target: its initiator; and latency in ns and bandwidth in MB/s by initiator.
struct Attributes {
  std::vector<uint32_t> initiators;
  std::map<int, std::map<std::pair<uint32_t, uint32_t>, uint64_t>> figures;  // by type, (initiator, target)
};

Attributes readHmat(Bytes hmat) {
  Attributes found;
  for (size_t at = 40; at < hmat.size(); at += numberAt<uint32_t>(hmat, at + 4)) {
    if (numberAt<uint16_t>(hmat, at) == 0) {
      EXPECT_EQ(numberAt<uint32_t>(hmat, at + 4), 40u);
      EXPECT_EQ(numberAt<uint16_t>(hmat, at + 8), 1);  // the initiator is valid
      EXPECT_EQ(numberAt<uint32_t>(hmat, at + 16), found.initiators.size());
      found.initiators.push_back(numberAt<uint32_t>(hmat, at + 12));
      continue;
    }
    EXPECT_EQ(numberAt<uint16_t>(hmat, at), 1);
    const int type = numberAt<uint8_t>(hmat, at + 9);
    const auto rows = numberAt<uint32_t>(hmat, at + 12), columns = numberAt<uint32_t>(hmat, at + 16);
    EXPECT_EQ(numberAt<uint32_t>(hmat, at + 4), 32 + 4 * (rows + columns) + 2 * rows * columns);
    const size_t targets = at + 32 + 4 * rows, entries = targets + 4 * columns;
    for (uint32_t i = 0; i < rows * columns; i++) {
      const std::pair pair(numberAt<uint32_t>(hmat, at + 32 + 4 * (i / columns)),
                           numberAt<uint32_t>(hmat, targets + 4 * (i % columns)));
      found.figures[type][pair] =
          numberAt<uint16_t>(hmat, entries + 2 * i) * numberAt<uint64_t>(hmat, at + 24);
    }
  }
  return found;
}

TEST(Acpi, hmatMakesFarAndMemoryOnlyNodesSlower) {
  const Tables tables(parseTopology("1l512M,1l256M,0l256M,1c1t,0-2:40,1-2:30"));
  Attributes attributes = readHmat(tables["HMAT"]);
  EXPECT_THAT(attributes.initiators, ElementsAre(0, 1, 1)) << "of node 2 the nearest with CPUs";
  using testing::Pair;
  EXPECT_THAT(attributes.figures[0],
              ElementsAre(Pair(Pair(0, 0), 100'000), Pair(Pair(0, 1), 200'000), Pair(Pair(0, 2), 1'200'000),
                          Pair(Pair(1, 0), 200'000), Pair(Pair(1, 1), 100'000), Pair(Pair(1, 2), 900'000)));
  EXPECT_THAT(attributes.figures[3],
              ElementsAre(Pair(Pair(0, 0), 51200), Pair(Pair(0, 1), 25600), Pair(Pair(0, 2), 5120),
                          Pair(Pair(1, 0), 25600), Pair(Pair(1, 1), 51200), Pair(Pair(1, 2), 6826)));
  EXPECT_EQ(attributes.figures.size(), 2u);
}

}  // namespace
}  // namespace ktstr
