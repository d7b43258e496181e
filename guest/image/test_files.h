// Files and small ELF objects for tests.
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr {

// A directory that goes away with the test.
class TestTree {
 public:
  TestTree() {
    std::string name = testing::TempDir() + "/ktstr-XXXXXX";
    root_ = std::filesystem::canonical(mkdtemp(name.data())).string();
  }
  ~TestTree() { std::filesystem::remove_all(root_); }
  TestTree(const TestTree&) = delete;
  TestTree& operator=(const TestTree&) = delete;

  std::string path(const std::string& name) const { return root_ + "/" + name; }
  std::string write(const std::string& name, const std::string& content, mode_t mode = 0755) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    writeAll(openFile(path(name), O_CREAT | O_TRUNC | O_WRONLY, 0600).get(), content);
    chmod(path(name).c_str(), mode);
    return path(name);
  }

 private:
  std::string root_;
};

struct TestElf {
  std::vector<std::string> needed = {};
  std::string runpath = {};
  std::string rpath = {};
  std::string interpreter = {};
  uint16_t machine = EM_X86_64;

  // A dynamic object without code: headers, one PT_LOAD over all of it, PT_DYNAMIC, strings.
  std::string build() const {
    std::string strings(1, '\0');
    std::vector<Elf64_Dyn> dynamic;
    const auto add = [&](Elf64_Sxword tag, const std::string& value) {
      if (value.empty()) return;
      dynamic.push_back({tag, {strings.size()}});
      strings += value + '\0';
    };
    for (const std::string& name : needed) add(DT_NEEDED, name);
    add(DT_RUNPATH, runpath);
    add(DT_RPATH, rpath);
    const size_t interpreterAt = strings.size();
    if (!interpreter.empty()) strings += interpreter + '\0';

    const uint64_t dynamicAt = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr);
    const uint64_t stringsAt = dynamicAt + (dynamic.size() + 3) * sizeof(Elf64_Dyn);
    dynamic.push_back({DT_STRTAB, {address + stringsAt}});
    dynamic.push_back({DT_STRSZ, {strings.size()}});
    dynamic.push_back({DT_NULL, {0}});

    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_DYN;
    header.e_machine = machine;
    header.e_version = EV_CURRENT;
    header.e_phoff = sizeof header;
    header.e_ehsize = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = interpreter.empty() ? 2 : 3;
    const uint64_t size = stringsAt + strings.size();
    const Elf64_Phdr segments[3] = {segment(PT_LOAD, 0, size),
                                    segment(PT_DYNAMIC, dynamicAt, stringsAt - dynamicAt),
                                    segment(PT_INTERP, stringsAt + interpreterAt, interpreter.size() + 1)};
    std::string file;
    file.append(reinterpret_cast<const char*>(&header), sizeof header);
    file.append(reinterpret_cast<const char*>(segments), sizeof segments);
    file.append(reinterpret_cast<const char*>(dynamic.data()), dynamic.size() * sizeof(Elf64_Dyn));
    return file + strings;
  }

 private:
  static constexpr uint64_t address = 0x400000;
  static Elf64_Phdr segment(uint32_t type, uint64_t offset, uint64_t size) {
    Elf64_Phdr header{};
    header.p_type = type;
    header.p_offset = offset;
    header.p_vaddr = address + offset;
    header.p_filesz = header.p_memsz = size;
    return header;
  }
};

}  // namespace ktstr
