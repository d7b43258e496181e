#include "guest/boot/acpi.h"

#include "guest/boot/acpi_table.h"

namespace ktstr {

namespace {

// The firmware page: FACS at its start, then the PM1 event registers (status, enable).
constexpr size_t pm1EventOffset = 0x100;
constexpr size_t rsdpOffset = 0x1000;
constexpr size_t tablesOffset = rsdpOffset + 0x40;

constexpr uint64_t localApicGpa = 0xfee00000;
constexpr uint64_t ioApicGpa = 0xfec00000;
constexpr uint64_t hpetGpa = 0xfed00000;
constexpr uint64_t pm1ControlPort = 0x604;
constexpr uint32_t firstX2ApicId = 255;  // 255 is the xAPIC broadcast id: such CPUs need x2APIC entries

// §5.2.3.2 Generic Address Structure.
enum class Space : uint8_t { memory = 0, io = 1 };
void address(ByteWriter& table, Space space, unsigned bits, uint64_t at) {
  const unsigned accessSize = bits == 8 ? 1 : 2;
  table.u8(static_cast<uint8_t>(space)).u8(bits).u8(0).u8(accessSize).u64(at);
}

// §5.2.10 Firmware ACPI Control Structure, and zeros for the registers behind it.
std::vector<std::byte> buildFirmwarePage() {
  ByteWriter page;
  page.name("FACS", 4).u32(64).u32(0).u32(0).u32(0).u32(0).u64(0).u8(2);
  return page.align(4096).take();
}

// §5.2.9 Fixed ACPI Description Table 6.5. Offsets in comments are the specification's.
std::vector<std::byte> buildFadt(uint64_t firmwarePage, uint64_t dsdt, Chipset chipset) {
  ByteWriter fadt = startTable("FACP", 6);
  fadt.u32(firmwarePage).u32(dsdt).u8(0).u8(4);  // 36 FIRMWARE_CTRL, DSDT; profile: enterprise server
  fadt.u16(9).u32(0).zeros(4);                   // 46 SCI_INT; no SMI_CMD: always in ACPI mode
  fadt.zeros(32).u8(4).u8(2).zeros(6);           // 56 no port blocks; PM1_EVT_LEN, PM1_CNT_LEN
  fadt.u16(101).u16(1001).zeros(9);              // 96 P_LVL2_LAT, P_LVL3_LAT: no C2, no C3
  const unsigned noCmosClock = chipset == Chipset::pc ? 0 : 1u << 5;
  fadt.u16(1u << 0 | 1u << 2 | noCmosClock)
      .u8(0);  // 109 IAPC_BOOT_ARCH: legacy devices, no VGA, no 8042 to probe
  fadt.u32(1u << 0 | 1u << 2 | 1u << 4 | 1u << 5 |
           1u << 10);                           // 112 WBINVD, PROC_C1, no fixed buttons, RESET_REG
  address(fadt, Space::io, 8, 0x64);            // 116 RESET_REG: keyboard controller
  fadt.u8(0xfe).u16(0).u8(5).u64(0).u64(dsdt);  // 128 RESET_VALUE, minor version, X_DSDT
  address(fadt, Space::memory, 32, firmwarePage + pm1EventOffset);  // 148 X_PM1a_EVT_BLK
  fadt.zeros(12);
  address(fadt, Space::io, 16, pm1ControlPort);  // 172 X_PM1a_CNT_BLK
  return finishTable(fadt.padTo(276));
}

// A serial port in AML, §20.2:
//   Scope (\_SB) { Device (`name`) { Name (_HID, EisaId ("PNP0501")) Name (_UID, `number`)
//     Name (_CRS, ResourceTemplate () { IO (Decode16, port, port, 0, 8) IRQNoFlags () {line} }) } }
// All lengths are below 64: one byte each, which counts itself.
void serialPort(ByteWriter& dsdt, const char* name, uint32_t number, uint32_t port, uint32_t line) {
  dsdt.u8(0x10).u8(52).name("\\_SB_", 5);
  dsdt.u8(0x5b).u8(0x82).u8(44).name(name, 4);
  dsdt.u8(0x08).name("_HID", 4).u8(0x0c).u32(0x0105d041);
  dsdt.u8(0x08).name("_UID", 4).u8(0x0a).u8(number);
  dsdt.u8(0x08).name("_CRS", 4).u8(0x11).u8(16).u8(0x0a).u8(13);
  dsdt.u8(0x47).u8(1).u16(port).u16(port).u8(0).u8(8);  // §6.4.2.5
  dsdt.u8(0x22).u16(1u << line).u8(0x79).u8(0);         // §6.4.2.1: edge, active high; end tag
}

// Name (\_S5, Package () {0, 0, 0, 0}), §7.4.2 and, for the bytes, §20.2: the sleep type is the first.
std::vector<std::byte> buildDsdt(Chipset chipset) {
  ByteWriter dsdt = startTable("DSDT", 2);
  dsdt.u8(0x08).name("_S5_", 4).u8(0x12).u8(6).u8(4).zeros(4);
  if (chipset == Chipset::none) {
    serialPort(dsdt, "COM1", 0, 0x3f8, 4);
    serialPort(dsdt, "COM2", 1, 0x2f8, 3);
  }
  return finishTable(std::move(dsdt));
}

// §5.2.12 Multiple APIC Description Table.
std::vector<std::byte> buildMadt(const Topology& topology, Chipset chipset) {
  ByteWriter madt = startTable("APIC", 5);
  madt.u32(localApicGpa).u32(chipset == Chipset::none ? 0 : 1);  // PCAT_COMPAT: there are 8259s as well
  bool x2apic = false;
  for (uint32_t cpu = 0; cpu < topology.vcpus(); cpu++) {
    const uint32_t id = topology.apicId(cpu);
    if (id < firstX2ApicId) {
      madt.u8(0).u8(8).u8(cpu).u8(id).u32(1);
    } else {
      x2apic = true;
      madt.u8(9).u8(16).u16(0).u32(id).u32(1).u32(cpu);
    }
  }
  madt.u8(1).u8(12).u8(0).u8(0).u32(ioApicGpa).u32(0);
  if (chipset != Chipset::none) madt.u8(2).u8(10).u8(0).u8(0).u32(2).u16(0);  // ISA IRQ 0 is GSI 2
  madt.u8(2).u8(10).u8(0).u8(9).u32(9).u16(0xd);                              // SCI: active high, level
  madt.u8(4).u8(6).u8(0xff).u16(0).u8(1);                                     // NMI on LINT1 of every CPU
  if (x2apic) madt.u8(10).u8(12).u16(0).u32(0xffffffff).u8(1).zeros(3);
  return finishTable(std::move(madt));
}

// IA-PC HPET specification 1.0a §3.2.4. The id is what QEMU's and KVM-era HPETs report: 8086h, three timers.
std::vector<std::byte> buildHpet() {
  ByteWriter hpet = startTable("HPET", 1);
  hpet.u32(0x8086a201).u8(0).u8(0).u8(0).u8(0).u64(hpetGpa).u8(0).u16(0).u8(0);
  return finishTable(std::move(hpet));
}

// §5.2.5.3 Root System Description Pointer.
std::vector<std::byte> buildRsdp(uint64_t xsdt) {
  ByteWriter rsdp;
  rsdp.name("RSD PTR ", 8).u8(0).name("KTSTR", 6).u8(2).u32(0);
  rsdp.patch(8, 0x100u - byteSum(rsdp.bytes()), 1);
  rsdp.u32(36).u64(xsdt).u8(0).zeros(3);
  rsdp.patch(32, 0x100u - byteSum(rsdp.bytes()), 1);
  return rsdp.take();
}

}  // namespace

uint8_t byteSum(std::span<const std::byte> bytes) {
  uint32_t sum = 0;
  for (const std::byte byte : bytes) sum += static_cast<uint8_t>(byte);
  return static_cast<uint8_t>(sum);
}

std::vector<std::byte> finishTable(ByteWriter table) {
  table.patch(4, table.size(), 4);
  table.patch(9, 0x100u - byteSum(table.bytes()), 1);
  return table.take();
}

AcpiTables buildAcpi(const Topology& topology, std::span<const NodeRange> memory, uint64_t address,
                     Chipset chipset) {
  ByteWriter blob;
  blob.append(buildFirmwarePage()).padTo(tablesOffset);
  std::vector<uint64_t> listed;
  const auto place = [&](const std::vector<std::byte>& table) {
    const uint64_t at = address + blob.align(16).size();
    blob.append(table);
    return at;
  };
  const uint64_t dsdt = place(buildDsdt(chipset));
  listed.push_back(place(buildFadt(address, dsdt, chipset)));
  listed.push_back(place(buildMadt(topology, chipset)));
  if (chipset == Chipset::pc) listed.push_back(place(buildHpet()));
  if (topology.nodes > 1) {
    listed.push_back(place(buildSrat(topology, memory)));
    listed.push_back(place(buildSlit(topology)));
    listed.push_back(place(buildHmat(topology)));
  }
  ByteWriter xsdt = startTable("XSDT", 1);
  for (const uint64_t table : listed) xsdt.u64(table);
  const std::vector<std::byte> rsdp = buildRsdp(place(finishTable(std::move(xsdt))));
  for (size_t i = 0; i < rsdp.size(); i++) blob.patch(rsdpOffset + i, static_cast<uint8_t>(rsdp[i]), 1);
  return {blob.take(), address + rsdpOffset};
}

}  // namespace ktstr
