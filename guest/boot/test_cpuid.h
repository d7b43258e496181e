// CPUID in tests: what hosts offer, what a VMM makes of a table, and what Linux reads from it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <string>
#include <utility>

#include "guest/boot/cpuid.h"

namespace ktstr {

using Table = std::vector<CpuidLeaf>;

// ---- what KVM_GET_SUPPORTED_CPUID says on some hosts, with topologies of their own ----

inline CpuidLeaf plain(uint32_t function, uint32_t eax, uint32_t ebx = 0, uint32_t ecx = 0,
                       uint32_t edx = 0) {
  return {.function = function, .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx};
}
inline CpuidLeaf indexed(uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx = 0, uint32_t ecx = 0,
                         uint32_t edx = 0) {
  return {function, index, true, eax, ebx, ecx, edx};
}

inline constexpr uint32_t featuresEcx = 1u << 5 | 1u << 21 | 1u << 24;  // VMX, x2APIC, TSC deadline
inline constexpr uint32_t featuresEdx = 1u << 28 | 0xf;

inline Table common(uint32_t highest, uint32_t signature, uint32_t highestExtended) {
  return {plain(0x0, highest),
          plain(0x1, signature, 0x17400800, featuresEcx, featuresEdx),
          indexed(0x7, 0, 0, 0x1234),
          indexed(0xb, 0, 1, 2, 0x100, 0x17),
          indexed(0xb, 1, 7, 64, 0x201, 0x17),
          indexed(0xb, 5, 9, 64, 0x305, 0x17),
          indexed(0xd, 0, 7, 0x340, 0x340),
          indexed(0xd, 1, 0xf),
          indexed(0xd, 2, 0x100, 0x240),
          plain(0x40000000, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d),
          plain(0x40000001, 0x01007efb),
          plain(0x80000000, highestExtended),
          plain(0x80000001, signature, 0, 1u << 5, 1u << 29),
          plain(0x80000008, 0x302e, 0x200)};
}

inline void setVendor(Table& table, const char* name) {
  const auto word = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; i++) value |= uint32_t{static_cast<uint8_t>(name[at + i])} << (8 * i);
    return value;
  };
  table[0].ebx = word(0);
  table[0].edx = word(4);
  table[0].ecx = word(8);
}

inline Table newIntel() {
  Table table = common(0x20, 0x806f8, 0x80000008);
  setVendor(table, "GenuineIntel");
  for (const CpuidLeaf& leaf :
       {indexed(0x4, 0, 0xfc004121, 0x02c0003f, 63), indexed(0x4, 1, 0xfc004122, 0x01c0003f, 63),
        indexed(0x4, 2, 0xfc004143, 0x03c0003f, 2047, 1), indexed(0x4, 3, 0xfc1fc163, 0x0380003f, 114687, 4),
        indexed(0x4, 4, 0), indexed(0x1f, 0, 1, 2, 0x100, 0x17), indexed(0x1f, 1, 7, 64, 0x201, 0x17),
        indexed(0x1f, 2, 8, 64, 0x502, 0x17)}) {
    table.push_back(leaf);
  }
  return table;
}

inline Table oldIntel() {
  Table table = common(0x7, 0x306c3, 0x80000004);
  setVendor(table, "GenuineIntel");
  return table;
}

inline Table amd(uint32_t signature, uint32_t highestExtended, const char* vendor = "AuthenticAMD") {
  Table table = common(0x10, signature, highestExtended);
  setVendor(table, vendor);
  for (const CpuidLeaf& leaf :
       {plain(0x80000005, 0xff48ff40, 0xff48ff40, 0x20080140, 0x20080140),
        plain(0x80000006, 0x5c002200, 0x6c004200, 0x04006140, 0x08009140), plain(0x8000000a, 1, 8, 0, 0xffff),
        indexed(0x8000001d, 0, 0x4121, 0x01c0003f, 63), indexed(0x8000001d, 1, 0x4122, 0x01c0003f, 63),
        indexed(0x8000001d, 2, 0x4143, 0x01c0003f, 2047, 2),
        indexed(0x8000001d, 3, 0xfc03c163, 0x03c0003f, 32767, 1), indexed(0x8000001d, 4, 0),
        plain(0x8000001e, 0x17, 0x10b, 0x303)}) {
    table.push_back(leaf);
  }
  if (highestExtended >= 0x80000026) table.push_back(indexed(0x80000026, 0, 1, 2, 0x100, 0x17));
  return table;
}

inline const std::map<std::string, Table>& hosts() {
  static const std::map<std::string, Table> all = {
      {"Intel with leaf 0x1F", newIntel()},          {"Intel without leaves 4, 0xB, 0x1F", oldIntel()},
      {"AMD family 15h", amd(0x600f20, 0x8000001e)}, {"AMD family 17h, first", amd(0x800f11, 0x8000001f)},
      {"AMD family 19h", amd(0xa10f11, 0x80000028)}, {"Hygon", amd(0x900f01, 0x8000001f, "HygonGenuine")}};
  return all;
}

// ---- a VMM: the common leaves, and those of the vCPU ----

inline const CpuidLeaf* find(const Table& table, uint32_t function, uint32_t index = 0) {
  const auto found = std::ranges::find_if(
      table, [&](const CpuidLeaf& leaf) { return leaf.function == function && leaf.index == index; });
  return found == table.end() ? nullptr : &*found;
}

// The leaf as an instruction sees it: zeros for those that are not there or beyond the highest.
inline CpuidLeaf cpuid(const Table& table, uint32_t function, uint32_t index = 0) {
  const CpuidLeaf* const highest = find(table, function & 0x80000000);
  const CpuidLeaf* const leaf = find(table, function, index);
  return leaf != nullptr && highest->eax >= function ? *leaf : CpuidLeaf{};
}

inline Table patched(const Table& table, uint32_t id) {
  Table all = vcpuCpuid(table, id);
  std::ranges::copy_if(table, std::back_inserter(all),
                       [](const CpuidLeaf& leaf) { return !tellsVcpu(leaf.function); });
  std::ranges::sort(all, {}, [](const CpuidLeaf& leaf) { return std::pair(leaf.function, leaf.index); });
  return all;
}

// ---- Linux: what it makes of the table of one vCPU ----

inline unsigned order(uint32_t count) {
  return static_cast<unsigned>(std::bit_width(count - 1));
}

struct Place {
  uint32_t id = 0;
  unsigned coreShift = 0, packageShift = 0;
  uint32_t threads = 0, packageThreads = 0;  // as told, for the core and the package
  uint32_t core() const { return id >> coreShift; }
  uint32_t package() const { return id >> packageShift; }
};

inline bool isIntel(const Table& table) {
  return cpuid(table, 0).ebx == 0x756e6547;
}
inline uint32_t family(const Table& table) {
  return (cpuid(table, 1).eax >> 8 & 0xf) + (cpuid(table, 1).eax >> 20 & 0xff);
}
inline uint32_t model(const Table& table) {
  return (cpuid(table, 1).eax >> 4 & 0xf) | (cpuid(table, 1).eax >> 12 & 0xf0);
}
inline CpuidLeaf cache(const Table& table, uint32_t index) {
  return cpuid(table, isIntel(table) ? 0x4 : 0x8000001d, index);
}

// topology_ext.c: one leaf; threads are zero if it is not there.
inline Place readLevels(const Table& table, uint32_t function) {
  Place place;
  for (uint32_t index = 0;; index++) {
    const CpuidLeaf leaf = cpuid(table, function, index);
    const uint32_t type = leaf.ecx >> 8 & 0xff;
    if (leaf.ebx == 0 || type == 0) return place;
    EXPECT_EQ(leaf.ecx & 0xff, index);
    EXPECT_EQ(type, index + 1);
    if (index == 0) {
      place.id = leaf.edx;
      place.coreShift = leaf.eax;
      place.threads = leaf.ebx;
    }
    EXPECT_EQ(leaf.edx, place.id) << "APIC ID mismatch";
    EXPECT_GE(leaf.eax, place.packageShift);
    if (index > 1) {
      EXPECT_EQ(leaf.eax, place.packageShift) << "more than one die in a package";
    }
    place.packageShift = leaf.eax;
    place.packageThreads = leaf.ebx;
  }
}

inline Place place(const Table& table) {
  for (const uint32_t function : {0x1fu, 0x80000026u, 0xbu}) {
    const Place found = readLevels(table, function);
    if (found.threads != 0) return found;
  }
  ADD_FAILURE() << "no leaf 0xB";
  return {};
}

// topology_common.c parse_legacy(), topology_amd.c: without any of these.
inline Place placeByOldLeaves(const Table& table) {
  Place place;
  if (isIntel(table)) {
    place.id = cpuid(table, 1).ebx >> 24;
    const unsigned cores = order((cpuid(table, 4).eax >> 26) + 1);
    place.packageShift = cores;
    if ((cpuid(table, 1).edx >> 28 & 1) != 0) place.packageShift = order(cpuid(table, 1).ebx >> 16 & 0xff);
    place.coreShift = place.packageShift - cores;
    return place;
  }
  place.id = cpuid(table, 0x8000001e).eax;
  place.threads = (cpuid(table, 0x8000001e).ebx >> 8 & 0xff) + 1;
  place.coreShift = order(place.threads);
  place.packageThreads = (cpuid(table, 0x80000008).ecx & 0xff) + 1;
  place.packageShift = cpuid(table, 0x80000008).ecx >> 12 & 0xf;
  if (place.packageShift == 0) place.packageShift = order(place.packageThreads);
  return place;
}

inline uint32_t sharing(const CpuidLeaf& leaf) {
  return (leaf.eax >> 14 & 0xfff) + 1;
}

// cacheinfo.c, cacheinfo_amd_init_llc_id() and cacheinfo_hygon_init_llc_id(); Intel's from the L3.
inline uint32_t llc(const Table& table) {
  const Place at = place(table);
  if (isIntel(table)) return at.id >> order(sharing(cache(table, 3)));
  if (cpuid(table, 0x80000006).edx == 0) return at.package();
  if (family(table) < 0x17) return cpuid(table, 0x8000001e).ecx & 0xff;
  if (family(table) == 0x18 || (family(table) == 0x17 && model(table) <= 0x1f)) return at.id >> 3;
  return at.id >> order(sharing(cache(table, 3)));
}

}  // namespace ktstr
