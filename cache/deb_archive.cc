#include "cache/deb_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

constexpr size_t blockSize = size_t{1} << 18;
constexpr uint64_t maxFile = uint64_t{1} << 30;

using Archive = std::unique_ptr<archive, int (*)(archive*)>;

[[noreturn]] void corrupt(const std::string& name, const std::string& where, const char* why) {
  throw Error(ExitCode::infrastructure, "package-corrupt",
              text(name, ": ", where, ": ", why == nullptr ? "unexpected end" : why),
              "the package is damaged or cut short: run the command again to download it anew");
}

// Feeds the current member of the outer archive to the inner one.
la_ssize_t readMember(archive* inner, void* outer, const void** buffer) {
  size_t size = 0;
  la_int64_t offset = 0;
  auto* source = static_cast<archive*>(outer);
  const int result = archive_read_data_block(source, buffer, &size, &offset);
  if (result == ARCHIVE_EOF) return 0;
  if (result == ARCHIVE_OK) return static_cast<la_ssize_t>(size);
  archive_set_error(inner, archive_errno(source), "%s", archive_error_string(source));
  return -1;
}

// True if there is a next header.
bool next(archive* reader, archive_entry** entry, const std::string& name, const std::string& where) {
  const int result = archive_read_next_header(reader, entry);
  if (result == ARCHIVE_EOF) return false;
  if (result != ARCHIVE_OK && result != ARCHIVE_WARN) corrupt(name, where, archive_error_string(reader));
  return true;
}

std::string pathOf(archive_entry* entry) {
  const char* raw = archive_entry_pathname(entry);
  std::string path = raw == nullptr ? "" : raw;
  if (path.starts_with("./")) path.erase(0, 2);
  if (path.starts_with("/")) path.erase(0, 1);
  return path;
}

void readFileInto(archive* reader, const Sink& sink, const std::string& name, const std::string& path) {
  uint64_t total = 0;
  std::vector<std::byte> buffer(blockSize);
  for (;;) {
    const la_ssize_t got = archive_read_data(reader, buffer.data(), buffer.size());
    if (got == 0) return;
    if (got < 0) corrupt(name, path, archive_error_string(reader));
    total += static_cast<size_t>(got);
    if (total > maxFile) corrupt(name, path, "larger than 1 GiB");
    sink(std::span(buffer).first(static_cast<size_t>(got)));
  }
}

size_t readFiles(archive* outer, const std::string& name, size_t wanted,
                 const std::function<Sink(std::string_view)>& sinkFor) {
  const Archive inner(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(inner.get());
  archive_read_support_filter_xz(inner.get());
  archive_read_support_filter_zstd(inner.get());
  archive_read_support_filter_gzip(inner.get());
  if (archive_read_open(inner.get(), outer, nullptr, readMember, nullptr) != ARCHIVE_OK) {
    corrupt(name, "data.tar", archive_error_string(inner.get()));
  }
  size_t taken = 0;
  archive_entry* entry = nullptr;
  std::string path = "start of data.tar";
  while (taken < wanted && next(inner.get(), &entry, name, "after " + path)) {
    path = pathOf(entry);
    if (archive_entry_filetype(entry) != AE_IFREG) continue;
    const Sink sink = sinkFor(path);
    if (!sink) continue;
    readFileInto(inner.get(), sink, name, path);
    ++taken;
  }
  return taken;
}

}  // namespace

size_t readDeb(int fd, const std::string& name, size_t wanted,
               const std::function<Sink(std::string_view path)>& sinkFor) {
  const Archive outer(archive_read_new(), archive_read_free);
  archive_read_support_format_ar(outer.get());
  if (lseek(fd, 0, SEEK_SET) < 0) throw errnoError("read-failed", "seek in " + name);
  if (archive_read_open_fd(outer.get(), fd, blockSize) != ARCHIVE_OK) {
    corrupt(name, "start", archive_error_string(outer.get()));
  }
  archive_entry* entry = nullptr;
  while (next(outer.get(), &entry, name, "looking for data.tar")) {
    if (pathOf(entry).starts_with("data.tar")) return readFiles(outer.get(), name, wanted, sinkFor);
  }
  corrupt(name, "end", "there is no data.tar");
}

}  // namespace ktstr::cache
