#include "cache/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <utility>

#include "cache/entry_files.h"
#include "cache/sha256.h"
#include "protocol/file.h"
#include "protocol/place.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

namespace fs = std::filesystem;

constexpr size_t maxName = 200;

bool nameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '+' || c == '-';
}

void makeDirectories(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw storageError("cache-unusable", "make directory " + path, error.value());
}

// An open, locked lock file; the lock goes with the descriptor.
Fd lockFile(const std::string& path, int operation) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) throw storageError("cache-unusable", "open lock file " + path);
  while (flock(fd.get(), operation) != 0) {
    if (errno == EWOULDBLOCK) return {};
    if (errno != EINTR) throw errnoError("lock-failed", "lock " + path);
  }
  return fd;
}

ino_t inodeOf(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

// Unique among the threads and processes that are alive.
std::string uniqueName() {
  static std::atomic<unsigned> counter{0};
  return text(getpid(), ".", monotonicNs(), ".", counter++);
}

// An error of filling a draft, with the store's place if it is about space.
[[noreturn]] void rethrowWithPlace(const Error& error, const std::string& root) {
  if (error.name() != "disk-full") throw error;
  throw Error(error.code(), error.name(), error.message() + ", in the cache at " + root,
              "free some space there, remove entries with `ktstr kernel rm`, or set KTSTR_CACHE_DIR");
}

}  // namespace

void checkName(std::string_view name) {
  bool valid = !name.empty() && name.size() <= maxName && name.front() != '.';
  for (const char c : name) valid = valid && nameCharacter(c);
  if (valid) return;
  throw Error(ExitCode::usage, "cache-key-invalid", text("\"", name, "\" cannot be a name in the cache"),
              text("use 1 to ", maxName, " of A-Z a-z 0-9 . _ + -, not beginning with a dot"));
}

std::string asName(std::string_view name) {
  std::string result;
  for (const char c : name.substr(0, maxName - 20)) result += nameCharacter(c) ? c : '_';
  if (!result.empty() && result.front() == '.') result.front() = '_';
  if (result.empty() || result != name) result += "-" + sha256Hex(name).substr(0, 16);
  return result;
}

std::string Store::defaultRoot() {
  return userPlace("KTSTR_CACHE_DIR", "XDG_CACHE_HOME", ".cache");
}

Store Store::open() {
  return open(defaultRoot());
}

Store Store::open(std::string root) {
  Store store(fs::absolute(root).lexically_normal());
  for (const char* part : {"entries", "aliases", "tmp", "locks", "quarantine"}) {
    makeDirectories(store.root_ + "/" + part);
  }
  store.removeStaleDrafts();
  return store;
}

std::string Store::entryPath(std::string_view kind, std::string_view key) const {
  checkName(kind);
  checkName(key);
  return text(root_, "/entries/", kind, "/", key);
}

std::optional<Entry> Store::find(std::string_view kind, std::string_view key,
                                 const OnCorrupt& onCorrupt) const {
  Entry entry;
  entry.directory_ = entryPath(kind, key);
  const ino_t inode = inodeOf(entry.directory_);
  if (inode == 0) return std::nullopt;
  try {
    entry.message_ = loadRecord(entry.directory_);
    verifyFiles(entry.directory_, entry.record(), true);
    return entry;
  } catch (const CorruptEntry& corrupt) {
    // Somebody may have removed or remade it while we looked.
    if (inodeOf(entry.directory_) != inode) return std::nullopt;
    const Error error = quarantine(entry.directory_, corrupt);
    if (!onCorrupt) throw error;
    onCorrupt(error);
    return std::nullopt;
  }
}

Error Store::quarantine(const std::string& directory, const Error& why) const {
  const fs::path path(directory);
  const std::string place = text(root_, "/quarantine/", path.parent_path().filename().string(), ".",
                                 path.filename().string(), ".", std::time(nullptr), ".", uniqueName());
  const bool moved = rename(directory.c_str(), place.c_str()) == 0;
  return Error(
      ExitCode::infrastructure, "cache-entry-corrupt",
      why.message() + (moved ? "; the entry is now " + place : "; the entry could not be moved away"),
      why.hint());
}

Entry Store::findOrMake(std::string_view kind, std::string_view key, const Fill& fill,
                        const OnCorrupt& onCorrupt) const {
  const OnCorrupt report = onCorrupt ? onCorrupt : [](const Error&) {};
  std::optional<Entry> entry = find(kind, key, report);
  if (!entry) {
    withKeyLock(kind, key, [&] {
      entry = find(kind, key, report);
      if (!entry) entry = put(kind, key, fill);
    });
  }
  return *entry;
}

std::unique_ptr<Draft> Store::newDraft() const {
  const std::string path = root_ + "/tmp/" + uniqueName();
  // Shared with other writers; keeps removeStaleDrafts() away until the new directory is locked itself.
  const Fd creating = lockFile(root_ + "/locks/tmp", LOCK_SH);
  if (mkdir(path.c_str(), 0755) != 0) throw storageError("cache-unusable", "make directory " + path);
  Fd directory = openFile(path, O_RDONLY | O_DIRECTORY);
  if (flock(directory.get(), LOCK_EX) != 0) throw errnoError("lock-failed", "lock " + path);
  return std::unique_ptr<Draft>(new Draft(path, std::move(directory)));
}

void Store::removeStaleDrafts() const {
  const std::string tmp = root_ + "/tmp";
  if (fs::is_empty(tmp)) return;
  const Fd exclusive = lockFile(root_ + "/locks/tmp", LOCK_EX | LOCK_NB);
  if (!exclusive) return;  // somebody is just making one; the next open() will do
  for (const auto& item : fs::directory_iterator(tmp)) {
    const Fd directory(::open(item.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (!directory || flock(directory.get(), LOCK_EX | LOCK_NB) != 0) continue;
    std::error_code ignored;
    fs::remove_all(item.path(), ignored);
  }
}

Entry Store::put(std::string_view kind, std::string_view key, const Fill& fill) const try {
  const std::string target = entryPath(kind, key);
  makeDirectories(text(root_, "/entries/", kind));
  const std::unique_ptr<Draft> draft = newDraft();
  fill(*draft);
  draft->seal(kind, key);
  if (rename(draft->directory_.c_str(), target.c_str()) == 0) {
    draft->directory_.clear();
    syncDirectory(text(root_, "/entries/", kind));
  } else if (errno != ENOTEMPTY && errno != EEXIST) {
    throw storageError("cache-unusable", "publish " + target);
  }
  if (auto entry = find(kind, key)) return *entry;
  throw Error(ExitCode::infrastructure, "cache-entry-gone", target + " was removed as soon as it was made",
              "run again");
} catch (const Error& error) {
  rethrowWithPlace(error, root_);
}

void Store::withKeyLock(std::string_view kind, std::string_view key,
                        const std::function<void()>& work) const {
  checkName(kind);
  checkName(key);
  makeDirectories(text(root_, "/locks/", kind));
  const Fd lock = lockFile(text(root_, "/locks/", kind, "/", key), LOCK_EX);
  work();
}

std::vector<Entry> Store::list(std::string_view kind) const {
  checkName(kind);
  std::vector<Entry> entries;
  std::error_code none;
  for (const auto& item : fs::directory_iterator(text(root_, "/entries/", kind), none)) {
    try {
      Entry entry;
      entry.directory_ = item.path();
      entry.message_ = loadRecord(entry.directory_);
      entries.push_back(std::move(entry));
    } catch (const CorruptEntry&) {
      continue;
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.directory_ < b.directory_; });
  return entries;
}

void Store::verify(const Entry& entry) const {
  try {
    loadRecord(entry.directory_);
    verifyFiles(entry.directory_, entry.record(), false);
  } catch (const CorruptEntry& corrupt) {
    throw quarantine(entry.directory_, corrupt);
  }
}

bool Store::remove(std::string_view kind, std::string_view key) const {
  const std::string path = entryPath(kind, key);
  if (inodeOf(path) == 0) return false;
  // Out of sight at once; a crash from here on leaves a stale draft, which the next open() removes.
  const std::unique_ptr<Draft> place = newDraft();
  if (rename(path.c_str(), place->directory_.c_str()) == 0) return true;
  if (errno == ENOENT) return false;
  throw storageError("cache-unusable", "remove " + path);
}

void Store::setAlias(std::string_view kind, std::string_view name, std::string_view key) const {
  checkName(kind);
  checkName(name);
  checkName(key);
  makeDirectories(text(root_, "/aliases/", kind));
  const std::unique_ptr<Draft> place = newDraft();
  place->write("alias", text(key, "\n"));
  const std::string target = text(root_, "/aliases/", kind, "/", name);
  if (rename((place->directory_ + "/alias").c_str(), target.c_str()) != 0) {
    throw storageError("cache-unusable", "write " + target);
  }
}

std::optional<std::string> Store::alias(std::string_view kind, std::string_view name) const {
  checkName(kind);
  checkName(name);
  std::optional<std::string> key = readFileIfThere(text(root_, "/aliases/", kind, "/", name), 1024);
  if (key && key->ends_with('\n')) key->pop_back();
  if (!key || key->empty() || asName(*key) != *key) return std::nullopt;
  return key;
}

}  // namespace ktstr::cache
