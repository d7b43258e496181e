#include "guest/boot/page_tables.h"

#include "guest/boot/byte_writer.h"

namespace ktstr {

std::vector<std::byte> buildPageTables(uint64_t gpa) {
  constexpr uint64_t presentWritable = 0x3;
  constexpr uint64_t largePage = 0x80;
  constexpr uint64_t gibibytes = 4;
  ByteWriter tables;
  tables.u64((gpa + 0x1000) | presentWritable).padTo(0x1000);
  for (uint64_t i = 0; i < gibibytes; i++) tables.u64((gpa + 0x2000 + i * 0x1000) | presentWritable);
  tables.padTo(0x2000);
  for (uint64_t i = 0; i < gibibytes * 512; i++) tables.u64(i << 21 | largePage | presentWritable);
  return tables.take();
}

std::vector<std::byte> buildGdt() {
  ByteWriter gdt;
  gdt.u64(0).u64(0);
  gdt.u64(0x00af9b000000ffff);  // 64-bit code, ring 0, readable, accessed
  gdt.u64(0x00cf93000000ffff);  // data, ring 0, writable, accessed
  return gdt.take();
}

}  // namespace ktstr
