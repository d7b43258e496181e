// ELF and BTF part of kernel_image.h.
#include <bpf/btf.h>
#include <elf.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>

#include "cache/kernel_image.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

constexpr size_t maxBuildId = 64;

Error invalid(const std::string& what) {
  return Error(ExitCode::usage, "kernel-image-invalid", what,
               "give a vmlinuz (bzImage) or vmlinux for x86-64");
}

// [offset, offset + size) of the image; `what` names it if it reaches beyond the end.
Bytes slice(Bytes image, uint64_t offset, uint64_t size, const std::string& what) {
  if (offset > image.size() || size > image.size() - offset) {
    throw Error(
        ExitCode::usage, "kernel-image-truncated",
        text(what, " at ", hex(offset), " has ", size, " bytes, the file ends at ", hex(image.size())),
        "the file is cut short: get it again");
  }
  return image.subspan(offset, size);
}

template <typename T>
T record(Bytes image, uint64_t offset, const std::string& what) {
  T value;
  memcpy(&value, slice(image, offset, sizeof value, what).data(), sizeof value);
  return value;
}

Elf64_Ehdr header(Bytes image) {
  if (!isElf(image)) throw invalid("the file does not begin with the ELF magic");
  const auto elf = record<Elf64_Ehdr>(image, 0, "ELF header");
  if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_ident[EI_DATA] != ELFDATA2LSB ||
      elf.e_machine != EM_X86_64) {
    throw Error(ExitCode::usage, "kernel-wrong-architecture",
                text("ELF class ", int{elf.e_ident[EI_CLASS]}, ", data ", int{elf.e_ident[EI_DATA]},
                     ", machine ", elf.e_machine, "; expected 2, 1 and 62 (64-bit little-endian x86-64)"),
                "give a kernel for x86-64");
  }
  if (elf.e_phnum > 0 && elf.e_phentsize != sizeof(Elf64_Phdr)) {
    throw invalid(
        text("program headers have ", elf.e_phentsize, " bytes each, expected ", sizeof(Elf64_Phdr)));
  }
  if (elf.e_shnum > 0 && elf.e_shentsize != sizeof(Elf64_Shdr)) {
    throw invalid(
        text("section headers have ", elf.e_shentsize, " bytes each, expected ", sizeof(Elf64_Shdr)));
  }
  return elf;
}

Segment segment(Bytes image, const Elf64_Phdr& program, unsigned index) {
  const std::string name = text("segment ", index);
  slice(image, program.p_offset, program.p_filesz, name);
  if (program.p_memsz < program.p_filesz || program.p_paddr > UINT64_MAX - program.p_memsz) {
    throw invalid(text(name, ": address ", hex(program.p_paddr), ", ", program.p_filesz,
                       " bytes in the file, ", program.p_memsz, " in memory"));
  }
  return {program.p_paddr, program.p_vaddr, program.p_offset, program.p_filesz, program.p_memsz};
}

// The GNU build id among notes (ELF gABI, "Note Section": name and descriptor padded to 4 bytes).
std::optional<std::string> buildIdIn(Bytes notes) {
  const auto padded = [](uint64_t size) { return (size + 3) & ~uint64_t{3}; };
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    const auto note = record<Elf64_Nhdr>(notes, 0, "note");
    const uint64_t descriptor = sizeof note + padded(note.n_namesz);
    if (descriptor > notes.size() || note.n_descsz > notes.size() - descriptor) return std::nullopt;
    const Bytes name = notes.subspan(sizeof note, note.n_namesz);
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(name.data(), "GNU", 4) == 0 &&
        note.n_descsz > 0 && note.n_descsz <= maxBuildId) {
      std::string id;
      for (const std::byte b : notes.subspan(descriptor, note.n_descsz)) {
        static constexpr char digits[] = "0123456789abcdef";
        id += digits[static_cast<unsigned>(b) >> 4];
        id += digits[static_cast<unsigned>(b) & 15];
      }
      return id;
    }
    notes = notes.subspan(std::min<uint64_t>(notes.size(), descriptor + padded(note.n_descsz)));
  }
  return std::nullopt;
}

void readProgramHeaders(Bytes image, const Elf64_Ehdr& elf, KernelElf& result) {
  const Bytes table =
      slice(image, elf.e_phoff, uint64_t{elf.e_phnum} * sizeof(Elf64_Phdr), "program headers");
  for (unsigned i = 0; i < elf.e_phnum; ++i) {
    const auto program = record<Elf64_Phdr>(table, i * sizeof(Elf64_Phdr), "program header");
    if (program.p_type == PT_LOAD) result.segments.push_back(segment(image, program, i));
    if (program.p_type == PT_NOTE && !result.buildId) {
      result.buildId = buildIdIn(slice(image, program.p_offset, program.p_filesz, text("note segment ", i)));
    }
  }
}

void readSectionHeaders(Bytes image, const Elf64_Ehdr& elf, KernelElf& result) {
  if (elf.e_shnum == 0 || elf.e_shstrndx >= elf.e_shnum) return;  // stripped of sections: no BTF to be found
  const Bytes table =
      slice(image, elf.e_shoff, uint64_t{elf.e_shnum} * sizeof(Elf64_Shdr), "section headers");
  const auto section = [&](unsigned i) {
    return record<Elf64_Shdr>(table, i * sizeof(Elf64_Shdr), "section header");
  };
  const Elf64_Shdr names = section(elf.e_shstrndx);
  const Bytes strings = slice(image, names.sh_offset, names.sh_size, "section names");
  const std::string_view wanted(".BTF\0", 5);
  for (unsigned i = 0; i < elf.e_shnum; ++i) {
    const Elf64_Shdr header = section(i);
    if (header.sh_type == SHT_NOBITS || header.sh_name > strings.size()) continue;
    const Bytes rest = strings.subspan(header.sh_name);
    if (rest.size() >= wanted.size() && memcmp(rest.data(), wanted.data(), wanted.size()) == 0) {
      result.btf = slice(image, header.sh_offset, header.sh_size, "section .BTF");
    }
    if (header.sh_type == SHT_NOTE && !result.buildId) {
      result.buildId = buildIdIn(slice(image, header.sh_offset, header.sh_size, text("note section ", i)));
    }
  }
}

}  // namespace

bool isElf(Bytes image) {
  return image.size() >= SELFMAG && memcmp(image.data(), ELFMAG, SELFMAG) == 0;
}

KernelElf parseKernelElf(Bytes vmlinux) {
  const Elf64_Ehdr elf = header(vmlinux);
  KernelElf result;
  result.entry = elf.e_entry;
  readProgramHeaders(vmlinux, elf, result);
  if (result.segments.empty()) throw invalid(text("none of ", elf.e_phnum, " program headers is PT_LOAD"));
  readSectionHeaders(vmlinux, elf, result);
  return result;
}

std::optional<std::string> findRelease(Bytes vmlinux) {
  static constexpr std::string_view banner = "Linux version ";
  static constexpr std::string_view releaseCharacters =
      "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-+_~";
  const std::string_view content(reinterpret_cast<const char*>(vmlinux.data()), vmlinux.size());
  for (size_t hit = content.find(banner); hit != content.npos; hit = content.find(banner, hit + 1)) {
    const std::string_view rest = content.substr(hit + banner.size(), 128);
    const size_t end = rest.find_first_not_of(releaseCharacters);
    if (end != rest.npos && rest[end] == ' ' && rest[0] >= '0' && rest[0] <= '9') {
      return std::string(rest.substr(0, end));
    }
  }
  return std::nullopt;
}

bool hasSchedExt(Bytes btf) {
  const std::unique_ptr<struct btf, void (*)(struct btf*)> types(
      btf__new(btf.data(), static_cast<uint32_t>(std::min<size_t>(btf.size(), UINT32_MAX))), btf__free);
  if (!types) {
    throw Error(ExitCode::usage, "kernel-btf-invalid",
                text("libbpf cannot read the ", btf.size(), " bytes of .BTF: ", strerror(errno)),
                "use a kernel whose BTF was made by pahole 1.24 or newer");
  }
  return btf__find_by_name_kind(types.get(), "sched_ext_ops", BTF_KIND_STRUCT) > 0;
}

}  // namespace ktstr::cache
