#include "cache/entry_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "cache/sha256.h"
#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

constexpr size_t maxMetadata = size_t{1} << 20;

std::string stampLine(const std::string& name, const struct stat& status) {
  const auto ns = [](const timespec& t) { return text(t.tv_sec, ".", t.tv_nsec); };
  return text(name, " ", status.st_size, " ", ns(status.st_mtim), " ", ns(status.st_ctim), " ", status.st_ino,
              "\n");
}

struct stat statusOf(int fd, const std::string& path) {
  struct stat status {};
  if (fstat(fd, &status) != 0) throw errnoError("stat-failed", "stat " + path);
  return status;
}

void writeSynced(const std::string& path, std::string_view content) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) throw storageError("cache-unusable", "create " + path);
  writeAll(fd.get(), content);
  if (fsync(fd.get()) != 0) throw storageError("write-failed", "sync " + path);
}

// Only spares work later, so failing to write it is no error.
void renewStamp(const std::string& directory, const std::string& stamp) try {
  const std::string aside = text(directory, "/.verified.", getpid());
  writeSynced(aside, stamp);
  if (rename(aside.c_str(), (directory + "/verified").c_str()) != 0) unlink(aside.c_str());
} catch (const Error&) {
}

// The stamp line of a file that is as the record says; hashes it unless `stamp` has that line already.
std::string verifyFile(const std::string& path, rpc::CachedFile::Reader file, const std::string& stamp) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd && errno != ENOENT && errno != ELOOP) throw errnoError("open-failed", "open " + path);
  if (!fd) throw CorruptEntry(path + " is missing");
  const struct stat status = statusOf(fd.get(), path);
  if (static_cast<uint64_t>(status.st_size) != file.getSize()) {
    throw CorruptEntry(text(path, " has ", status.st_size, " bytes, expected ", file.getSize()));
  }
  std::string line = stampLine(file.getName().cStr(), status);
  if (stamp.find("\n" + line) != std::string::npos) return line;
  const std::string found = sha256OfFile(fd.get());
  const std::string expected = file.getSha256().cStr();
  if (found != expected) {
    throw CorruptEntry(text(path, " has SHA-256 ", found, ", expected ", expected));
  }
  return line;
}

}  // namespace

std::shared_ptr<capnp::MallocMessageBuilder> loadRecord(const std::string& directory) {
  const std::string path = directory + "/metadata.json";
  const auto json = readFileIfThere(path, maxMetadata);
  const auto digest = readFileIfThere(directory + "/metadata.sha256", 128);
  if (!json || !digest) throw CorruptEntry(path + " or its digest is missing");
  if (const std::string found = sha256Hex(*json); found != *digest) {
    throw CorruptEntry(text(path, " has SHA-256 ", found, ", expected ", *digest));
  }
  auto message = std::make_shared<capnp::MallocMessageBuilder>();
  try {
    fromJson(*json, message->initRoot<rpc::EntryRecord>());
  } catch (const Error& error) {
    throw CorruptEntry(text(path, " is not the record of an entry: ", error.message()));
  }
  return message;
}

void verifyFiles(const std::string& directory, rpc::EntryRecord::Reader record, bool trustStamp) {
  const std::string old = readFileIfThere(directory + "/verified", maxMetadata).value_or("");
  std::string stamp = "\n";
  for (const auto file : record.getFiles()) {
    stamp += verifyFile(text(directory, "/", file.getName().cStr()), file, trustStamp ? old : "");
  }
  if (stamp != old) renewStamp(directory, stamp);
}

void writeRecord(const std::string& directory, rpc::EntryRecord::Reader record) {
  const std::string json = toJson(record, {.pretty = true}) + "\n";
  writeSynced(directory + "/metadata.json", json);
  writeSynced(directory + "/metadata.sha256", sha256Hex(json));
  std::string stamp = "\n";
  for (const auto file : record.getFiles()) {
    const std::string path = text(directory, "/", file.getName().cStr());
    stamp += stampLine(file.getName().cStr(), statusOf(openFile(path, O_RDONLY).get(), path));
  }
  writeSynced(directory + "/verified", stamp);
  syncDirectory(directory);
}

bool isReservedFile(std::string_view name) {
  return name == "metadata.json" || name == "metadata.sha256" || name == "verified";
}

void syncDirectory(const std::string& path) {
  if (fsync(openFile(path, O_RDONLY | O_DIRECTORY).get()) != 0)
    throw storageError("write-failed", "sync " + path);
}

Error storageError(const std::string& name, const std::string& doing, int errnum) {
  const int number = errnum != 0 ? errnum : errno;
  const bool full = number == ENOSPC || number == EDQUOT;
  return errnoError(full ? "disk-full" : name, doing,
                    full ? "free some space and run again" : "check the path, or set KTSTR_CACHE_DIR",
                    number);
}

}  // namespace ktstr::cache
