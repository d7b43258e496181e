#include "cache/test_images.h"

#include <archive.h>
#include <archive_entry.h>
#include <bpf/btf.h>
#include <elf.h>
#include <fcntl.h>
#include <lz4hc.h>
#include <lzma.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>

#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr::cache::test {
namespace {

template <typename T>
void append(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
void put(std::string& to, size_t offset, T value) {
  memcpy(to.data() + offset, &value, sizeof value);
}

std::string makeBtf(bool schedExt) {
  const std::unique_ptr<btf, void (*)(btf*)> types(btf__new_empty(), btf__free);
  btf__add_int(types.get(), "int", 4, BTF_INT_SIGNED);
  btf__add_struct(types.get(), schedExt ? "sched_ext_ops" : "task_struct", 4);
  btf__add_field(types.get(), "x", 1, 0, 0);
  uint32_t size = 0;
  const void* raw = btf__raw_data(types.get(), &size);
  return std::string(static_cast<const char*>(raw), size);
}

std::string buildIdNote() {
  std::string note;
  append(note, Elf64_Nhdr{4, 20, NT_GNU_BUILD_ID});
  note.append("GNU", 4);
  for (const int c : {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99,
                      0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x01, 0x02, 0x03, 0x04}) {
    note += static_cast<char>(c);
  }
  return note;
}

std::string gzip(const std::string& content) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, content.size()) + 64, 0);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string xz(const std::string& content) {
  std::string out(lzma_stream_buffer_bound(content.size()), 0);
  size_t size = 0;
  lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const uint8_t*>(content.data()),
                          content.size(), reinterpret_cast<uint8_t*>(out.data()), &size, out.size());
  out.resize(size);
  return out;
}

std::string lz4(const std::string& content) {
  std::string out("\x02\x21\x4c\x18", 4);
  constexpr size_t blockSize = size_t{8} << 20;
  for (size_t at = 0; at < content.size(); at += blockSize) {
    const int size = static_cast<int>(std::min(blockSize, content.size() - at));
    std::string block(static_cast<size_t>(LZ4_compressBound(size)), 0);
    block.resize(static_cast<size_t>(
        LZ4_compress_HC(content.data() + at, block.data(), size, static_cast<int>(block.size()), 9)));
    append(out, static_cast<uint32_t>(block.size()));
    out += block;
  }
  return out;
}

std::string zstd(const std::string& content) {
  std::string out(ZSTD_compressBound(content.size()), 0);
  out.resize(ZSTD_compress(out.data(), out.size(), content.data(), content.size(), 3));
  return out;
}

std::string archiveOf(int (*setFormat)(archive*), int filter,
                      const std::map<std::string, std::string>& files) {
  std::string out(1 << 20, 0);
  for (const auto& [name, content] : files) out.resize(out.size() + content.size() + 4096);
  const std::unique_ptr<archive, int (*)(archive*)> writer(archive_write_new(), archive_write_free);
  setFormat(writer.get());
  archive_write_add_filter(writer.get(), filter);
  size_t used = 0;
  archive_write_open_memory(writer.get(), out.data(), out.size(), &used);
  for (const auto& [name, content] : files) {
    const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(),
                                                                         archive_entry_free);
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_write_header(writer.get(), entry.get());
    archive_write_data(writer.get(), content.data(), content.size());
  }
  archive_write_close(writer.get());
  out.resize(used);
  return out;
}

}  // namespace

std::string makeVmlinux(const ElfOptions& options) {
  const std::string names("\0.BTF\0.shstrtab\0", 16);
  const std::string note = options.buildId ? buildIdNote() : "";
  const std::string btf = options.btf ? makeBtf(options.schedExt) : "";
  const size_t loadAt = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
  std::string load = "Linux version %s\nLinux version " + options.release + " (somebody@somewhere) #1 SMP\n";
  load.resize(128);
  const size_t noteAt = loadAt + load.size();
  const size_t btfAt = noteAt + note.size();
  const size_t namesAt = btfAt + btf.size();
  const size_t sectionsAt = (namesAt + names.size() + 7) & ~size_t{7};

  Elf64_Ehdr elf{};
  memcpy(elf.e_ident, ELFMAG, SELFMAG);
  elf.e_ident[EI_CLASS] = ELFCLASS64;
  elf.e_ident[EI_DATA] = ELFDATA2LSB;
  elf.e_type = ET_EXEC;
  elf.e_machine = options.machine;
  elf.e_entry = 0x1000040;
  elf.e_phoff = sizeof elf;
  elf.e_phentsize = sizeof(Elf64_Phdr);
  elf.e_phnum = 2;
  elf.e_shoff = sectionsAt;
  elf.e_shentsize = sizeof(Elf64_Shdr);
  elf.e_shnum = 3;
  elf.e_shstrndx = 2;
  std::string image;
  append(image, elf);
  append(image, Elf64_Phdr{PT_LOAD, 5, loadAt, 0xffffffff81000000, 0x1000000, load.size(), 4096, 4096});
  append(image, Elf64_Phdr{PT_NOTE, 4, noteAt, 0, 0, note.size(), note.size(), 4});
  image += load + note + btf + names;
  image.resize(sectionsAt);
  append(image, Elf64_Shdr{});
  append(image, Elf64_Shdr{options.btf ? 1U : 6U, SHT_PROGBITS, 0, 0, btfAt, btf.size(), 0, 0, 1, 0});
  append(image, Elf64_Shdr{6, SHT_STRTAB, 0, 0, namesAt, names.size(), 0, 0, 1, 0});
  return image;
}

std::string compressPayload(Compression compression, const std::string& content) {
  std::string payload;
  switch (compression) {
    case Compression::gzip:
      return gzip(content);  // ends in its size anyway
    case Compression::xz:
      payload = xz(content);
      break;
    case Compression::lz4:
      payload = lz4(content);
      break;
    case Compression::zstd:
      payload = zstd(content);
      break;
    case Compression::none:
      payload = content;
  }
  append(payload, static_cast<uint32_t>(content.size()));
  return payload;
}

std::string makeBzImage(const std::string& payload) {
  constexpr size_t protectedMode = 1024;
  constexpr size_t payloadOffset = 0x40;
  std::string image(protectedMode + payloadOffset, 0);
  put<uint8_t>(image, 0x1f1, 1);
  put<uint16_t>(image, 0x1fe, 0xaa55);
  put<uint8_t>(image, 0x200, 0xeb);
  put<uint8_t>(image, 0x201, 0x6a);  // the header ends at 0x26c
  memcpy(image.data() + 0x202, "HdrS", 4);
  put<uint16_t>(image, 0x206, 0x020f);
  put<uint16_t>(image, 0x20e, 0x100);  // kernel version at 0x300
  put<uint8_t>(image, 0x211, 1);
  put<uint32_t>(image, 0x22c, 0x7fffffff);
  put<uint32_t>(image, 0x230, 0x200000);
  put<uint8_t>(image, 0x234, 1);
  put<uint16_t>(image, 0x236, 0x7f);
  put<uint32_t>(image, 0x238, 2047);
  put<uint32_t>(image, 0x248, payloadOffset);
  put<uint32_t>(image, 0x24c, static_cast<uint32_t>(payload.size()));
  put<uint64_t>(image, 0x258, 0x1000000);
  put<uint32_t>(image, 0x260, 0x3000000);
  memcpy(image.data() + 0x300, "9.9.1-test (somebody) #1", 25);
  return image + payload;
}

std::string makeDeb(const std::map<std::string, std::string>& files) {
  const std::string data = archiveOf(archive_write_set_format_gnutar, ARCHIVE_FILTER_XZ, files);
  return archiveOf(archive_write_set_format_ar_svr4, ARCHIVE_FILTER_NONE,
                   {{"data.tar.xz", data}, {"debian-binary", "2.0\n"}});
}

TemporaryDirectory::TemporaryDirectory() {
  std::string name = std::filesystem::temp_directory_path() / "ktstr-cache-test-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void writeFile(const std::string& path, const std::string& content) {
  writeAll(openFile(path, O_WRONLY | O_CREAT | O_TRUNC, 0644).get(), content);
}

void flipByte(const std::string& path, size_t offset) {
  std::string content = readFile(path);
  content.at(offset) = static_cast<char>(content.at(offset) ^ 1);
  std::filesystem::permissions(path, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
  writeFile(path, content);
}

}  // namespace ktstr::cache::test
