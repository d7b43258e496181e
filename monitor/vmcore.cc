#include "monitor/vmcore.h"

#include <elf.h>
#include <sys/procfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t pageBytes = 4096;
constexpr size_t ripIndex = 16;  // of user_regs_struct, as elf_gregset_t has it

class Bytes {
 public:
  template <typename T>
  void addObject(const T& value) {
    add(std::as_bytes(std::span(&value, 1)));
  }
  void add(std::span<const std::byte> bytes) { all_.insert(all_.end(), bytes.begin(), bytes.end()); }
  void pad(size_t unit) { padTo((all_.size() + unit - 1) / unit * unit); }
  void padTo(size_t size) { all_.resize(size); }
  size_t size() const { return all_.size(); }
  std::vector<std::byte> take() { return std::move(all_); }

 private:
  std::vector<std::byte> all_;
};

void addNote(Bytes& notes, std::string_view name, uint32_t type, std::span<const std::byte> content) {
  notes.addObject(
      Elf64_Nhdr{static_cast<Elf64_Word>(name.size() + 1), static_cast<Elf64_Word>(content.size()), type});
  notes.add(std::as_bytes(std::span(name)));
  notes.addObject(std::byte{0});
  notes.pad(4);
  notes.add(content);
  notes.pad(4);
}

std::vector<std::byte> makeNotes(const VmcoreContents& contents) {
  Bytes notes;
  for (const auto& cpu : contents.cpus) {
    elf_prstatus status{};
    status.pr_pid = cpu.pid;
    status.pr_reg[ripIndex] = cpu.rip;
    addNote(notes, "CORE", NT_PRSTATUS, std::as_bytes(std::span(&status, 1)));
  }
  if (!contents.vmcoreinfo.empty())
    addNote(notes, "VMCOREINFO", 0, std::as_bytes(std::span(contents.vmcoreinfo)));
  return notes.take();
}

Elf64_Ehdr makeHeader(size_t segments) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<Elf64_Half>(segments);
  return header;
}

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ExitCode::usage, "core-invalid", why, "give an ELF vmcore, as ktstr-monitor core writes it");
}

template <typename T>
std::optional<T> load(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

Elf64_Ehdr readHeader(std::span<const std::byte> head) {
  const auto header = load<Elf64_Ehdr>(head, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) refuse("the file is no ELF file");
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
      header->e_machine != EM_X86_64)
    refuse(text("the file is not of x86-64: class ", int{header->e_ident[EI_CLASS]}, ", machine ",
                header->e_machine));
  if (header->e_type != ET_CORE) refuse(text("the file is no core but of ELF type ", header->e_type));
  if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == PN_XNUM)
    refuse(text("program headers of ", header->e_phentsize, " bytes, ", header->e_phnum, " of them"));
  return *header;
}

std::string describe(const RamRange& range) {
  return text("PT_LOAD of ", hex(range.size), " bytes at physical ", hex(range.gpa));
}

bool inside(const RamRange& inner, const RamRange& outer) {
  return inner.gpa >= outer.gpa && inner.gpa + inner.size <= outer.gpa + outer.size;
}

// Sorts by address, the longer first, and leaves out what lies inside another.
std::vector<RamRange> withoutCopies(std::vector<RamRange> all) {
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.gpa != b.gpa ? a.gpa < b.gpa : a.size > b.size; });
  std::vector<RamRange> ranges;
  for (const auto& range : all) {
    if (!ranges.empty() && inside(range, ranges.back())) continue;
    if (!ranges.empty() && range.gpa < ranges.back().gpa + ranges.back().size)
      refuse(text(describe(range), " overlaps the ", describe(ranges.back())));
    ranges.push_back(range);
  }
  return ranges;
}

}  // namespace

VmcorePlan planVmcore(const VmcoreContents& contents) {
  const auto notes = makeNotes(contents);
  const RamRange image{contents.imageGpa, contents.imageSize, 0};
  const size_t segments = 2 + contents.ranges.size();
  const uint64_t notesAt = sizeof(Elf64_Ehdr) + segments * sizeof(Elf64_Phdr);
  VmcorePlan plan;
  plan.size = (notesAt + notes.size() + pageBytes - 1) / pageBytes * pageBytes;
  std::vector<Elf64_Phdr> loads;
  const auto load = [&](uint64_t offset, uint64_t va, uint64_t gpa, uint64_t size) {
    loads.push_back({PT_LOAD, PF_R | PF_W | PF_X, offset, va, gpa, size, size, pageBytes});
  };
  for (const auto& range : contents.ranges) {
    if (image.size != 0 && inside(image, range))
      load(plan.size + image.gpa - range.gpa, contents.imageVa, image.gpa, image.size);
    load(plan.size, contents.pageOffset + range.gpa, range.gpa, range.size);
    plan.places.push_back(plan.size);
    plan.size += range.size;
  }
  Bytes head;
  head.addObject(makeHeader(1 + loads.size()));
  head.addObject(Elf64_Phdr{PT_NOTE, 0, notesAt, 0, 0, notes.size(), notes.size(), 4});
  head.add(std::as_bytes(std::span(loads)));
  head.padTo(notesAt);
  head.add(notes);
  head.pad(pageBytes);
  plan.head = head.take();
  return plan;
}

std::vector<RamRange> vmcoreRanges(std::span<const std::byte> head, uint64_t fileBytes) {
  const auto header = readHeader(head);
  std::vector<RamRange> ranges;
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    const uint64_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
    const auto segment = at >= header.e_phoff ? load<Elf64_Phdr>(head, at) : std::nullopt;
    if (!segment)
      refuse(text("program header ", i, " of ", header.e_phnum, " lies beyond ", head.size(), " bytes"));
    if (segment->p_type != PT_LOAD || segment->p_filesz == 0) continue;
    const RamRange range{segment->p_paddr, segment->p_filesz, segment->p_offset};
    if (range.gpa + range.size < range.gpa) refuse(text(describe(range), " wraps around"));
    if (range.offset > fileBytes || range.size > fileBytes - range.offset)
      refuse(text(describe(range), ", ", hex(range.offset), " into the file, is not all there: the file has ",
                  hex(fileBytes), " bytes"));
    ranges.push_back(range);
  }
  if (ranges.empty()) refuse("the core holds no memory: it has no PT_LOAD");
  return withoutCopies(std::move(ranges));
}

std::vector<RamRange> vmcoreRanges(int fd) {
  const uint64_t bytes = fileSize(fd);
  std::vector<std::byte> head(std::min<uint64_t>(bytes, maxVmcoreHead));
  if (pread(fd, head.data(), head.size(), 0) != static_cast<ssize_t>(head.size()))
    throw errnoError("read-failed", "read the core's headers");
  return vmcoreRanges(head, bytes);
}

}  // namespace ktstr
