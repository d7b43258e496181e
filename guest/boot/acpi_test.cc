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
  explicit Tables(const Topology& topology, uint64_t memory = gib)
      : plan_(planMemory(memory, mib, mib, mib)),
        nodes_(splitOverNodes(plan_, topology.nodes)),
        acpi_(buildAcpi(topology, nodes_, acpiGpa)) {
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
  const auto control = numberAt<uint64_t>(fadt, 176);        // X_PM1a_CNT_BLK
  EXPECT_EQ(numberAt<uint16_t>(tables.at(control), 0), 1);   // SCI_EN
  EXPECT_LT(numberAt<uint64_t>(fadt, 152), acpiGpa + 4096);  // X_PM1a_EVT_BLK: in the NVS page
  EXPECT_EQ(numberAt<uint64_t>(tables["HPET"], 44), 0xfed00000u);
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

TEST(Acpi, slitAndHmatGiveDistances) {
  const Tables tables(parseTopology("2n2l1c1t"));
  const Bytes slit = tables["SLIT"];
  EXPECT_EQ(numberAt<uint64_t>(slit, 36), 2u);
  EXPECT_THAT((std::vector<int>{numberAt<uint8_t>(slit, 44), numberAt<uint8_t>(slit, 45),
                                numberAt<uint8_t>(slit, 46), numberAt<uint8_t>(slit, 47)}),
              ElementsAre(10, 20, 20, 10));
  const Bytes hmat = tables["HMAT"];
  size_t offset = 40;
  for (uint32_t node = 0; node < 2; node++, offset += 40) {
    EXPECT_EQ(numberAt<uint32_t>(hmat, offset + 4), 40u);
    EXPECT_EQ(numberAt<uint32_t>(hmat, offset + 12), node);
    EXPECT_EQ(numberAt<uint32_t>(hmat, offset + 16), node);
  }
  for (const auto& [type, unit, local, remote] : {std::tuple{0, 100000, 1, 2}, {3, 10240, 5, 2}}) {
    ASSERT_EQ(numberAt<uint16_t>(hmat, offset), 1);
    EXPECT_EQ(numberAt<uint8_t>(hmat, offset + 9), type);
    EXPECT_EQ(numberAt<uint64_t>(hmat, offset + 24), static_cast<uint64_t>(unit));
    const size_t entries = offset + 32 + 2 * 2 * 4;
    EXPECT_EQ(numberAt<uint16_t>(hmat, entries), local);
    EXPECT_EQ(numberAt<uint16_t>(hmat, entries + 2), remote);
    EXPECT_EQ(numberAt<uint16_t>(hmat, entries + 6), local);
    EXPECT_EQ(numberAt<uint32_t>(hmat, offset + 4), 56u);
    offset += 56;
  }
  EXPECT_EQ(offset, hmat.size());
}

}  // namespace
}  // namespace ktstr
