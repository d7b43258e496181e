// Entry and Draft: one entry's files, published or being written.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "cache/entry_files.h"
#include "cache/sha256.h"
#include "cache/store.h"
#include "protocol/file.h"
#include "protocol/sparse.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace fs = std::filesystem;

rpc::EntryRecord::Reader Entry::record() const& {
  return message_->getRoot<rpc::EntryRecord>().asReader();
}

std::string Entry::kind() const {
  return record().getKind().cStr();
}

std::string Entry::key() const {
  return record().getKey().cStr();
}

bool Entry::has(std::string_view file) const {
  for (const auto f : record().getFiles()) {
    if (file == f.getName().cStr()) return true;
  }
  return false;
}

std::string Entry::path(std::string_view file) const {
  if (has(file)) return text(directory_, "/", file);
  std::string names;
  for (const auto f : record().getFiles()) names += text(names.empty() ? "" : ", ", f.getName().cStr());
  throw Error(ExitCode::usage, "cache-file-missing", text(directory_, " has no file \"", file, "\""),
              "it has " + names);
}

Fd Entry::open(std::string_view file) const {
  return openFile(path(file), O_RDONLY);
}

std::string Entry::read(std::string_view file) const {
  return readAll(open(file).get());
}

std::optional<std::string> Entry::attribute(std::string_view name) const {
  for (const auto a : record().getAttributes()) {
    if (name == a.getName().cStr()) return a.getValue().cStr();
  }
  return std::nullopt;
}

Draft::~Draft() {
  std::error_code ignored;
  if (!directory_.empty()) fs::remove_all(directory_, ignored);
}

Fd Draft::create(std::string_view file) {
  checkName(file);
  const std::string path = text(directory_, "/", file);
  Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd) throw storageError("write-failed", "create " + path);
  return fd;
}

void Draft::write(std::string_view file, std::span<const std::byte> bytes) {
  const Fd fd = create(file);
  writeSparse(fd.get(), 0, bytes);
  if (ftruncate(fd.get(), static_cast<off_t>(bytes.size())) != 0)
    throw storageError("write-failed", "size a file");
}

void Draft::write(std::string_view file, std::string_view bytes) {
  write(file, std::as_bytes(std::span(bytes)));
}

void Draft::attribute(std::string_view name, std::string_view value) {
  attributes_.emplace_back(name, value);
}

rpc::KernelFacts::Builder Draft::kernel() {
  auto record = message_.getRoot<rpc::EntryRecord>();
  return record.hasKernel() ? record.getKernel() : record.initKernel();
}

void Draft::seal(std::string_view kind, std::string_view key) {
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(directory_)) {
    const std::string name = item.path().filename();
    const bool ours = item.is_regular_file() && !item.is_symlink() && !isReservedFile(name) && name[0] != '.';
    if (!ours)
      throw Error(ExitCode::usage, "cache-key-invalid", item.path().string() + " is no file to store");
    checkName(name);
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());

  auto record = message_.getRoot<rpc::EntryRecord>();
  record.setKind(std::string(kind));
  record.setKey(std::string(key));
  record.setCreatedUnix(static_cast<uint64_t>(std::time(nullptr)));
  auto files = record.initFiles(static_cast<unsigned>(names.size()));
  for (unsigned i = 0; i < names.size(); ++i) {
    const std::string path = directory_ + "/" + names[i];
    const Fd fd = openFile(path, O_RDONLY);
    struct stat status {};
    const bool program = fstat(fd.get(), &status) == 0 && (status.st_mode & S_IXUSR) != 0;
    if (fchmod(fd.get(), program ? 0555 : 0444) != 0) throw storageError("write-failed", "protect " + path);
    if (fsync(fd.get()) != 0) throw storageError("write-failed", "sync " + path);
    files[i].setName(names[i]);
    files[i].setSize(fileSize(fd.get()));
    files[i].setSha256(sha256OfFile(fd.get()));
  }
  auto attributes = record.initAttributes(static_cast<unsigned>(attributes_.size()));
  for (unsigned i = 0; i < attributes_.size(); ++i) {
    attributes[i].setName(attributes_[i].first);
    attributes[i].setValue(attributes_[i].second);
  }
  writeRecord(directory_, record.asReader());
}

}  // namespace ktstr::cache
