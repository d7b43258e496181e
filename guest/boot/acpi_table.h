// One ACPI table under construction: the header of ACPI 6.5 §5.2.6 and a body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "guest/boot/byte_writer.h"
#include "guest/boot/memory_plan.h"

namespace ktstr {

inline ByteWriter startTable(std::string_view signature, uint8_t revision) {
  ByteWriter table;
  table.name(signature, 4).u32(0).u8(revision).u8(0);  // length and checksum: finishTable()
  table.name("KTSTR", 6).name("KTSTRVM", 8).u32(1).name("KTST", 4).u32(1);
  return table;
}

// Fills in length and checksum.
std::vector<std::byte> finishTable(ByteWriter table);

// SRAT, SLIT, HMAT: acpi_numa.cc.
std::vector<std::byte> buildSrat(const Topology& topology, std::span<const NodeRange> memory);
std::vector<std::byte> buildSlit(const Topology& topology);
std::vector<std::byte> buildHmat(const Topology& topology);

}  // namespace ktstr
