#include "guest/image/elf_needs.h"

#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <sstream>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr size_t mostHeaders = 1024;
constexpr size_t mostDynamic = 65536;
constexpr size_t mostNeeded = 1024;

Error invalid(const std::string& reason) {
  return Error(ExitCode::usage, "binary-invalid", reason, "build or fetch the file again");
}

using ElfHandle = std::unique_ptr<Elf, decltype(&elf_end)>;

ElfHandle openElf(std::span<const std::byte> elf) {
  elf_version(EV_CURRENT);
  // elf_memory() does not write to an image in host byte order; its parameter just is not const.
  char* image = const_cast<char*>(reinterpret_cast<const char*>(elf.data()));
  ElfHandle handle(elf_memory(image, elf.size()), &elf_end);
  if (!handle) throw invalid(text("not readable as ELF: ", elf_errmsg(-1)));
  return handle;
}

class NeedsReader {
 public:
  explicit NeedsReader(std::span<const std::byte> file) : file_(file), elf_(openElf(file)) {
    GElf_Ehdr header;
    if (gelf_getehdr(elf_.get(), &header) == nullptr) throw invalid("ELF header unreadable");
    size_t count = 0;  // libelf lowers it to what the file has room for
    if (elf_getphdrnum(elf_.get(), &count) != 0 || count != header.e_phnum || count > mostHeaders) {
      throw invalid(text(header.e_phnum, " program headers at ", hex(header.e_phoff),
                         " lie outside of the file or are more than ", mostHeaders));
    }
    for (size_t i = 0; i < count; i++) {
      GElf_Phdr segment;
      if (gelf_getphdr(elf_.get(), static_cast<int>(i), &segment) == nullptr) {
        throw invalid(text("program header ", i, " lies outside of the file"));
      }
      headers_.push_back(segment);
    }
  }

  ElfNeeds read() {
    ElfNeeds needs;
    for (const GElf_Phdr& header : headers_) {
      if (header.p_type == PT_INTERP) {
        needs.interpreter = stringAt(header.p_offset, header.p_offset + header.p_filesz);
      }
      if (header.p_type == PT_DYNAMIC) readDynamic(header, needs);
    }
    return needs;
  }

 private:
  std::string stringAt(uint64_t begin, uint64_t limit) const {
    limit = std::min<uint64_t>(limit, file_.size());
    if (begin >= limit)
      throw invalid(text("string at ", hex(begin), " lies outside of the file or its table"));
    const auto* start = reinterpret_cast<const char*>(file_.data()) + begin;
    const size_t length = strnlen(start, limit - begin);
    if (length == limit - begin || length > 4096)
      throw invalid(text("string at ", hex(begin), " has no end"));
    return {start, length};
  }

  uint64_t fileOffset(uint64_t address) const {
    for (const GElf_Phdr& header : headers_) {
      if (header.p_type == PT_LOAD && address >= header.p_vaddr &&
          address - header.p_vaddr < header.p_filesz) {
        return header.p_offset + (address - header.p_vaddr);
      }
    }
    throw invalid(text("address ", hex(address), " is in no segment"));
  }

  std::vector<GElf_Dyn> dynamicEntries(const GElf_Phdr& header) const {
    if (header.p_offset > file_.size() || header.p_filesz > file_.size() - header.p_offset) {
      throw invalid(text("dynamic section at ", hex(header.p_offset), " lies outside of the file"));
    }
    const size_t count = std::min(header.p_filesz / sizeof(Elf64_Dyn), uint64_t{mostDynamic});
    std::vector<GElf_Dyn> entries;
    for (size_t i = 0; i < count; i++) {
      GElf_Dyn entry;
      std::memcpy(&entry, file_.data() + header.p_offset + i * sizeof entry, sizeof entry);
      if (entry.d_tag == DT_NULL) break;
      entries.push_back(entry);
    }
    return entries;
  }

  void readDynamic(const GElf_Phdr& header, ElfNeeds& needs) const {
    const std::vector<GElf_Dyn> entries = dynamicEntries(header);
    std::optional<uint64_t> table, size;
    for (const GElf_Dyn& entry : entries) {
      if (entry.d_tag == DT_STRTAB) table = entry.d_un.d_ptr;
      if (entry.d_tag == DT_STRSZ) size = entry.d_un.d_val;
    }
    if (!table || !size) return;  // nothing in it can have a name
    const uint64_t begin = fileOffset(*table);
    if (begin > file_.size() || *size > file_.size() - begin)
      throw invalid("string table lies outside of the file");
    const auto name = [&](const GElf_Dyn& entry) {
      if (entry.d_un.d_val >= *size) throw invalid("name lies outside of the string table");
      return stringAt(begin + entry.d_un.d_val, begin + *size);
    };
    for (const GElf_Dyn& entry : entries) {
      if (entry.d_tag == DT_NEEDED) needs.needed.push_back(name(entry));
      if (entry.d_tag == DT_RPATH) needs.rpath = splitPath(name(entry));
      if (entry.d_tag == DT_RUNPATH) needs.runpath = splitPath(name(entry));
      if (needs.needed.size() > mostNeeded)
        throw invalid(text("more than ", mostNeeded, " needed libraries"));
    }
  }

  static std::vector<std::string> splitPath(const std::string& path) {
    std::vector<std::string> directories;
    std::istringstream parts(path);
    for (std::string part; std::getline(parts, part, ':');) {
      if (!part.empty()) directories.push_back(part);
    }
    return directories;
  }

  std::span<const std::byte> file_;
  ElfHandle elf_;
  std::vector<GElf_Phdr> headers_;
};

}  // namespace

bool isElfFile(std::span<const std::byte> file) {
  return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

bool isGuestArchitecture(std::span<const std::byte> elf) {
  Elf64_Ehdr header;
  if (elf.size() < sizeof header) return false;
  std::memcpy(&header, elf.data(), sizeof header);
  return header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_ident[EI_DATA] == ELFDATA2LSB &&
         header.e_machine == EM_X86_64;
}

ElfNeeds readElfNeeds(std::span<const std::byte> elf) {
  return NeedsReader(elf).read();
}

}  // namespace ktstr
