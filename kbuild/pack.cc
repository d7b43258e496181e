#include "kbuild/pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::kbuild {
namespace {

namespace fs = std::filesystem;

class Packer {
 public:
  Packer(const std::string& directory, const std::string& output)
      : directory_(directory), output_(output), writer_(archive_write_new(), archive_write_free) {
    check(archive_write_set_format_pax_restricted(writer_.get()));
    check(archive_write_open_filename(writer_.get(), output.c_str()));
  }

  void add(const fs::path& part) {
    const fs::path path = directory_ / part;
    switch (fs::symlink_status(path).type()) {
      case fs::file_type::directory:
        addDirectory(part);
        break;
      case fs::file_type::symlink:
        addLink(part, fs::read_symlink(path));
        break;
      case fs::file_type::regular:
        addFile(part, readFile(path));
        break;
      default:
        break;
    }
  }

  void close() { check(archive_write_close(writer_.get())); }

 private:
  void check(int status) {
    if (status == ARCHIVE_OK) return;
    const char* why = archive_error_string(writer_.get());
    throw Error(ExitCode::infrastructure, "write-failed",
                text("write ", output_, ": ", why == nullptr ? "unknown" : why), "is the disk full?");
  }

  void addDirectory(const fs::path& part) {
    std::vector<fs::path> names;
    for (const auto& each : fs::directory_iterator(directory_ / part))
      names.push_back(each.path().filename());
    std::sort(names.begin(), names.end());
    for (const fs::path& name : names) add(part / name);
  }

  void addLink(const fs::path& part, const fs::path& target) {
    const auto entry = named(part, AE_IFLNK, 0777);
    archive_entry_set_symlink(entry.get(), target.c_str());
    check(archive_write_header(writer_.get(), entry.get()));
  }

  void addFile(const fs::path& part, const std::string& content) {
    const bool executable =
        (fs::status(directory_ / part).permissions() & fs::perms::owner_exec) != fs::perms::none;
    const auto entry = named(part, AE_IFREG, executable ? 0755 : 0644);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    check(archive_write_header(writer_.get(), entry.get()));
    if (archive_write_data(writer_.get(), content.data(), content.size()) !=
        static_cast<la_ssize_t>(content.size()))
      check(ARCHIVE_FATAL);
  }

  using Entry = std::unique_ptr<archive_entry, void (*)(archive_entry*)>;
  static Entry named(const fs::path& part, unsigned type, mode_t mode) {
    Entry entry(archive_entry_new(), archive_entry_free);
    archive_entry_set_pathname(entry.get(), ("top" / part).c_str());
    archive_entry_set_filetype(entry.get(), type);
    archive_entry_set_perm(entry.get(), mode);
    return entry;
  }

  fs::path directory_;
  std::string output_;
  std::unique_ptr<archive, int (*)(archive*)> writer_;
};

}  // namespace

void packTree(const std::string& directory, const std::vector<std::string>& parts,
              const std::string& output) {
  Packer packer(directory, output);
  for (const std::string& part : parts) packer.add(part);
  packer.close();
}

}  // namespace ktstr::kbuild
