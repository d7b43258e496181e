#include "kbuild/extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::kbuild {
namespace {

using Parts = std::vector<std::string>;

[[noreturn]] void unsafe(const std::string& member, const std::string& why) {
  throw Error(ExitCode::infrastructure, "archive-unsafe", text("member \"", member, "\" ", why),
              "get the source package again; do not use this one");
}

// The components of a relative name, "." left out.
Parts split(std::string_view name) {
  Parts parts;
  while (!name.empty()) {
    const size_t slash = std::min(name.find('/'), name.size());
    const auto part = name.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    name.remove_prefix(std::min(slash + 1, name.size()));
  }
  return parts;
}

// Components of a name without the top directory; empty for the top directory itself. The name is the
// member's own or that of another member it is a link to.
Parts treeParts(const std::string& member, const std::string& name) {
  const std::string which = name == member ? "has" : text("is a link to \"", name, "\", ");
  if (name.empty()) unsafe(member, which + " an empty name");
  if (name.front() == '/') unsafe(member, which + " an absolute name");
  Parts parts = split(name);
  if (std::find(parts.begin(), parts.end(), "..") != parts.end()) {
    unsafe(member, which + " a name that leads out of the tree by \"..\"");
  }
  if (!parts.empty()) parts.erase(parts.begin());
  return parts;
}

std::string join(const Parts& parts) {
  std::string path;
  for (const auto& part : parts) path += (path.empty() ? "" : "/") + part;
  return path;
}

// ".." may only come first, where it counts real directories: after another component, which may be a link,
// nobody could tell where it leads.
void checkSymlink(const std::string& member, const Parts& parts, const std::string& target) {
  if (target.empty() || target.front() == '/')
    unsafe(member, text("links to \"", target, "\", out of the tree"));
  size_t depth = parts.size() - 1;
  bool descending = false;
  for (const auto& part : split(target)) {
    if (part != "..") {
      descending = true;
    } else if (descending || depth-- == 0) {
      unsafe(member, text("links to \"", target, "\", out of the tree"));
    }
  }
}

bool matches(const std::vector<std::string>& patterns, const std::string& path) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    if (!pattern.ends_with('/')) return path == pattern;
    return path.starts_with(pattern) || path + '/' == pattern;
  });
}

class Extractor {
 public:
  Extractor(const ExtractRequest& request, archive* reader)
      : request_(request), reader_(reader), root_(openFile(request.directory, O_PATH | O_DIRECTORY)) {}

  void take(archive_entry* entry) {
    const char* name = archive_entry_pathname(entry);
    const std::string member = name == nullptr ? "" : name;
    const Parts parts = treeParts(member, member);
    const char* hardlink = archive_entry_hardlink(entry);
    if (const char* target = archive_entry_symlink(entry);
        target != nullptr && hardlink == nullptr && !parts.empty()) {
      checkSymlink(member, parts, target);
    }
    const Parts linked = hardlink == nullptr ? Parts{} : treeParts(member, hardlink);
    const std::string path = join(parts);
    if (parts.empty() || !matches(request_.wanted, path) || matches(request_.unwanted, path)) return;
    if (++members_ > request_.maxFiles) tooLarge(text("more than ", request_.maxFiles, " members"));
    if (hardlink != nullptr) {
      makeHardlink(member, parts, linked);
    } else {
      make(member, parts, entry);
    }
  }

  ExtractResult result() const { return result_; }

 private:
  [[noreturn]] void tooLarge(const std::string& what) const {
    throw Error(ExitCode::infrastructure, "archive-too-large",
                text("the wanted part of the archive has ", what));
  }

  void make(const std::string& member, const Parts& parts, archive_entry* entry) {
    switch (archive_entry_filetype(entry)) {
      case AE_IFDIR:
        (void)directory(member, parts);
        return;
      case AE_IFREG:
        makeFile(member, parts, (archive_entry_perm(entry) & 0100) != 0 ? 0755 : 0644);
        return;
      case AE_IFLNK:
        if (symlinkat(archive_entry_symlink(entry), parent(member, parts).get(), parts.back().c_str()) != 0) {
          failed(member);
        }
        ++result_.files;
        return;
      default:
        unsafe(member, "is neither file, directory nor link");
    }
  }

  // Opens a directory beneath the root, making what is missing, and never goes through a link.
  Fd directory(const std::string& member, std::span<const std::string> parts) const {
    Fd at = root_.duplicate();
    for (const auto& part : parts) {
      if (mkdirat(at.get(), part.c_str(), 0755) != 0 && errno != EEXIST) failed(member);
      Fd next(openat(at.get(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!next) failed(member);
      at = std::move(next);
    }
    return at;
  }

  Fd parent(const std::string& member, const Parts& parts) const {
    return directory(member, std::span(parts).first(parts.size() - 1));
  }

  [[noreturn]] void failed(const std::string& member) const {
    const int errnum = errno;
    if (errnum == EEXIST) unsafe(member, "is there twice");
    if (errnum == ENOTDIR || errnum == ELOOP) unsafe(member, "would be written through a link or file");
    if (errnum == ENOSPC || errnum == EDQUOT) {
      throw errnoError("disk-full", text("write ", request_.directory, "/", member), "free some space",
                       errnum);
    }
    throw errnoError("write-failed", text("write ", request_.directory, "/", member), "", errnum);
  }

  void makeHardlink(const std::string& member, const Parts& parts, const Parts& linked) {
    if (linked.empty()) unsafe(member, "is a link to a directory");
    if (linkat(parent(member, linked).get(), linked.back().c_str(), parent(member, parts).get(),
               parts.back().c_str(), 0) != 0) {
      if (errno == ENOENT) unsafe(member, text("links to \"", join(linked), "\", which is not there"));
      failed(member);
    }
    ++result_.files;
  }

  void makeFile(const std::string& member, const Parts& parts, mode_t mode) {
    const Fd file(openat(parent(member, parts).get(), parts.back().c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!file) failed(member);
    const void* block = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    int status;
    while ((status = archive_read_data_block(reader_, &block, &size, &offset)) == ARCHIVE_OK) {
      if (offset < 0) unsafe(member, "has a hole before its start");
      if (result_.bytes + size > request_.maxBytes || static_cast<uint64_t>(offset) > request_.maxBytes) {
        tooLarge(text("more than ", request_.maxBytes, " bytes"));
      }
      result_.bytes += size;
      if (lseek(file.get(), offset, SEEK_SET) < 0) failed(member);
      writeAll(file.get(), std::span(static_cast<const std::byte*>(block), size));
    }
    if (status != ARCHIVE_EOF) {
      throw Error(ExitCode::infrastructure, "archive-corrupt",
                  text(member, ": ", archive_error_string(reader_)),
                  "remove the source package from the cache and get it again");
    }
    ++result_.files;
  }

  const ExtractRequest& request_;
  archive* reader_;
  Fd root_;
  uint64_t members_ = 0;
  ExtractResult result_;
};

}  // namespace

ExtractResult extractTree(int archiveFd, const ExtractRequest& request) {
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_filter_all(reader.get());
  archive_read_support_format_tar(reader.get());
  const auto corrupt = [&] {
    const char* why = archive_error_string(reader.get());
    throw Error(
        ExitCode::infrastructure, "archive-corrupt",
        text("after ", archive_filter_bytes(reader.get(), -1), " bytes: ", why == nullptr ? "unknown" : why),
        "remove the source package from the cache and get it again");
  };
  if (lseek(archiveFd, 0, SEEK_SET) < 0) throw errnoError("read-failed", "rewind the archive");
  if (archive_read_open_fd(reader.get(), archiveFd, size_t{1} << 20) != ARCHIVE_OK) corrupt();

  Extractor extractor(request, reader.get());
  archive_entry* entry = nullptr;
  int status;
  while ((status = archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK || status == ARCHIVE_WARN) {
    if (request.onProgress) request.onProgress();
    extractor.take(entry);
  }
  if (status != ARCHIVE_EOF) corrupt();
  return extractor.result();
}

}  // namespace ktstr::kbuild
