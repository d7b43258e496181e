#include "monitor/vmcore.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/procfs.h>

#include <cstring>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

VmcoreContents contents() {
  return {.ranges = {{0, 0x8000'0000, 0}, {0x1'0000'0000, 0x20'0000, 0x8000'0000}},
          .pageOffset = 0xffff'8880'0000'0000,
          .imageVa = 0xffff'ffff'8100'0000,
          .imageGpa = 0x100'0000,
          .imageSize = 0x20'0000,
          .vmcoreinfo = "OSRELEASE=7.3.4\n",
          .cpus = {{77, 0xffff'ffff'8100'1234}, {}}};
}

template <typename T>
T at(std::span<const std::byte> bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// The notes of a core, as "name:type" and content.
std::vector<std::pair<std::string, std::vector<std::byte>>> notesOf(std::span<const std::byte> head) {
  const auto segment = at<Elf64_Phdr>(head, sizeof(Elf64_Ehdr));
  EXPECT_EQ(segment.p_type, static_cast<uint32_t>(PT_NOTE));
  std::vector<std::pair<std::string, std::vector<std::byte>>> notes;
  const auto up = [](uint64_t size) { return (size + 3) / 4 * 4; };
  for (uint64_t place = segment.p_offset; place < segment.p_offset + segment.p_filesz;) {
    const auto note = at<Elf64_Nhdr>(head, place);
    const char* const name = reinterpret_cast<const char*>(head.data() + place + sizeof note);
    const auto content = head.subspan(place + sizeof note + up(note.n_namesz), note.n_descsz);
    notes.push_back({text(name, ":", note.n_type), {content.begin(), content.end()}});
    place += sizeof note + up(note.n_namesz) + up(note.n_descsz);
  }
  return notes;
}

TEST(Vmcore, HoldsAllOfRamWhereItSays) {
  const auto plan = planVmcore(contents());
  EXPECT_EQ(plan.head.size() % 4096, 0u);
  EXPECT_EQ(plan.places, (std::vector<uint64_t>{plan.head.size(), plan.head.size() + 0x8000'0000}));
  EXPECT_EQ(plan.size, plan.head.size() + 0x8020'0000);
  const auto high = at<Elf64_Phdr>(plan.head, sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr));
  EXPECT_EQ(high.p_type, static_cast<uint32_t>(PT_LOAD));
  EXPECT_EQ(high.p_paddr, 0x1'0000'0000u);
  EXPECT_EQ(high.p_vaddr, 0xffff'8881'0000'0000u);
  EXPECT_EQ(high.p_filesz, 0x20'0000u);
  EXPECT_EQ(high.p_memsz, 0x20'0000u);
  EXPECT_EQ(high.p_offset, plan.places[1]);
  const auto image = at<Elf64_Phdr>(plan.head, sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr));
  EXPECT_EQ(image.p_vaddr, contents().imageVa);
  EXPECT_EQ(image.p_paddr, contents().imageGpa);
  EXPECT_EQ(image.p_filesz, contents().imageSize);
  EXPECT_EQ(image.p_offset, plan.places[0] + contents().imageGpa) << "the same bytes once more";
}

TEST(Vmcore, LeavesOutAnImageThatIsNotInRam) {
  auto elsewhere = contents();
  elsewhere.imageGpa = 0x7ff0'0000;
  const auto plan = planVmcore(elsewhere);
  EXPECT_EQ(at<Elf64_Ehdr>(plan.head, 0).e_phnum, 3);
  EXPECT_EQ(vmcoreRanges(plan.head, plan.size).size(), 2u);
}

TEST(Vmcore, ReadsBackTheRangesThatItWrote) {
  const auto plan = planVmcore(contents());
  const auto ranges = vmcoreRanges(plan.head, plan.size);
  ASSERT_EQ(ranges.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(ranges[i].gpa, contents().ranges[i].gpa);
    EXPECT_EQ(ranges[i].size, contents().ranges[i].size);
    EXPECT_EQ(ranges[i].offset, plan.places[i]);
  }
}

TEST(Vmcore, NotesAreAsTheKernelsOwn) {
  const auto notes = notesOf(planVmcore(contents()).head);
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_EQ(notes[0].first, text("CORE:", NT_PRSTATUS));
  ASSERT_EQ(notes[0].second.size(), 336u) << "struct elf_prstatus of x86-64";
  EXPECT_EQ(at<uint32_t>(notes[0].second, 32), 77u) << "pr_pid";
  EXPECT_EQ(at<uint64_t>(notes[0].second, 112 + 16 * 8), 0xffff'ffff'8100'1234u) << "rip";
  EXPECT_EQ(at<uint64_t>(notes[0].second, 112 + 19 * 8), 0u) << "rsp is not told";
  EXPECT_EQ(notes[2].first, "VMCOREINFO:0");
  const auto& info = notes[2].second;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(info.data()), info.size()), "OSRELEASE=7.3.4\n");
}

// A core with its headers to be tampered with.
class Crafted {
 public:
  Crafted() : plan_(planVmcore(contents())) {}
  Elf64_Ehdr& header() { return *reinterpret_cast<Elf64_Ehdr*>(plan_.head.data()); }
  Elf64_Phdr& segment(size_t index) {
    return reinterpret_cast<Elf64_Phdr*>(plan_.head.data() + sizeof(Elf64_Ehdr))[index];
  }
  std::vector<RamRange> ranges(uint64_t missing = 0) {
    return vmcoreRanges(plan_.head, plan_.size - missing);
  }
  std::string refusal(uint64_t missing = 0) {
    try {
      return text(ranges(missing).size(), " ranges");
    } catch (const Error& error) {
      EXPECT_EQ(error.name(), "core-invalid");
      return error.message();
    }
  }

 private:
  VmcorePlan plan_;
};

TEST(Vmcore, RefusesWhatIsNoCore) {
  const std::vector<std::byte> nothing, zeros(4096);
  EXPECT_THROW(vmcoreRanges(nothing, 0), Error);
  EXPECT_THROW(vmcoreRanges(zeros, 4096), Error);
  Crafted crafted;
  crafted.header().e_type = ET_EXEC;
  EXPECT_THAT(crafted.refusal(), HasSubstr("no core"));
  Crafted arm;
  arm.header().e_machine = EM_AARCH64;
  EXPECT_THAT(arm.refusal(), HasSubstr("not of x86-64"));
}

TEST(Vmcore, NamesWhatIsMissing) {
  EXPECT_THAT(Crafted().refusal(1), HasSubstr("PT_LOAD of 0x200000 bytes at physical 0x100000000"));
  Crafted beyond;
  beyond.header().e_phnum = 40'000;
  EXPECT_THAT(beyond.refusal(), HasSubstr("lies beyond"));
  Crafted far;
  far.header().e_phoff = ~uint64_t{0} - 8;
  EXPECT_THAT(far.refusal(), HasSubstr("lies beyond"));
  Crafted none;
  none.header().e_phnum = 1;
  EXPECT_THAT(none.refusal(), HasSubstr("no PT_LOAD"));
}

TEST(Vmcore, RefusesRangesThatOverlapOrWrap) {
  Crafted crafted;
  crafted.segment(3).p_paddr = 0x7fff'f000;
  EXPECT_THAT(crafted.refusal(), HasSubstr("overlaps the PT_LOAD of 0x80000000 bytes at physical 0x0"));
  Crafted wrapping;
  wrapping.segment(3).p_paddr = ~uint64_t{0} - 0xfff;
  EXPECT_THAT(wrapping.refusal(), HasSubstr("wraps around"));
}

TEST(Vmcore, LeavesOutCopiesAndWhatIsNotInTheFile) {
  Crafted image;
  image.segment(3).p_paddr = 0x100'0000;
  ASSERT_EQ(image.ranges().size(), 1u);
  EXPECT_EQ(image.ranges()[0].size, 0x8000'0000u);
  Crafted filtered;
  filtered.segment(3).p_filesz = 0x1000;
  EXPECT_EQ(filtered.ranges()[1].size, 0x1000u);
}

}  // namespace
}  // namespace ktstr
