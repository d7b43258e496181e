#include "orchestrator/record_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>

#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/place.h"
#include "protocol/socket.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr const char* partialPrefix = ".partial-";
constexpr const char* socketName = "run.sock";
constexpr const char* diskHint = "free some space there, or name another place with KTSTR_STATE_DIR";

// Room for the line that says what was cut off.
constexpr uint64_t noteBytes = 128;

std::string cleanName(std::string_view name) {
  std::string out;
  for (const char c : name.substr(0, 64)) {
    const bool keep = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '.' || c == '-';
    out += keep ? c : '_';
  }
  return out.empty() ? "unnamed" : out;
}

std::string randomHex() {
  std::array<unsigned char, 3> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw errnoError("random-failed", "getrandom");
  }
  std::array<char, 8> hexadecimal{};
  snprintf(hexadecimal.data(), hexadecimal.size(), "%02x%02x%02x", bytes[0], bytes[1], bytes[2]);
  return hexadecimal.data();
}

std::string utcTime(uint64_t unixMs) {
  const time_t seconds = static_cast<time_t>(unixMs / 1000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> buffer{};
  strftime(buffer.data(), buffer.size(), "%Y%m%dT%H%M%SZ", &parts);
  return buffer.data();
}

Error storeError(const std::string& doing) {
  const int number = errno;
  const bool full = number == ENOSPC || number == EDQUOT;
  return errnoError(full ? "disk-full" : "record-not-written", doing, diskHint, number);
}

std::vector<std::string> namesIn(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(directory.c_str()), closedir);
  if (!open) return names;
  while (const dirent* entry = readdir(open.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

void removePartial(int runs, const std::string& name, int directory,
                   const std::vector<std::string>& further) noexcept {
  for (size_t i = 0; i < recordFileCount; ++i)
    unlinkat(directory, recordFileName(static_cast<RecordFile>(i)), 0);
  unlinkat(directory, socketName, 0);
  for (const std::string& file : further) unlinkat(directory, file.c_str(), 0);
  unlinkat(runs, name.c_str(), AT_REMOVEDIR);
}

// Partial directories whose writer is gone: it held a lock on them. The caller holds the lock on `runs`.
void removeAbandoned(int runs, const std::string& path) {
  for (const std::string& name : namesIn(path)) {
    if (!name.starts_with(partialPrefix)) continue;
    const Fd directory(openat(runs, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!directory || flock(directory.get(), LOCK_EX | LOCK_NB) != 0) continue;
    removePartial(runs, name, directory.get(), namesIn(text(path, "/", name)));
  }
}

// The first few.
std::string joined(const std::vector<std::string>& words) {
  std::string list;
  for (size_t i = 0; i < std::min<size_t>(words.size(), 5); ++i) list += (i == 0 ? "" : ", ") + words[i];
  return list;
}

// By the descriptor: the path itself may be longer than a socket's may be.
std::string socketPath(int directory) {
  return text("/proc/self/fd/", directory, "/", socketName);
}

bool isRun(const std::string& directory) {
  return access((directory + "/" + recordFileName(RecordFile::record)).c_str(), F_OK) == 0;
}

}  // namespace

const char* recordFileName(RecordFile file) {
  constexpr std::array<const char*, recordFileCount> names = {
      "record.json",   "samples.jsonl", "events.jsonl",   "console.log",
      "scheduler.log", "scenario.json", "snapshots.jsonl"};
  return names.at(static_cast<size_t>(file));
}

// ---- writing
// ----------------------------------------------------------------------------------------------------

PendingRecord::~PendingRecord() {
  discard();
}

void PendingRecord::discard() noexcept {
  if (!partial_) return;  // finished, or moved from
  removePartial(runs_.get(), partialName_, partial_.get(), furtherFiles_);
  partial_.reset();
}

int PendingRecord::descriptor(RecordFile file) const {
  return files_.at(static_cast<size_t>(file)).get();
}

std::vector<int> PendingRecord::descriptors() const {
  std::vector<int> all = {runs_.get(), partial_.get()};
  for (const Fd& file : files_) all.push_back(file.get());
  return all;
}

std::string PendingRecord::partialPath(const std::string& name) {
  furtherFiles_.push_back(name);
  return text(std::filesystem::path(directory_).parent_path().string(), "/", partialName_, "/", name);
}

Fd PendingRecord::listen() {
  return listenUnix(socketPath(partial_.get()), 0600);
}

bool PendingRecord::fits(RecordFile file, size_t bytes) const {
  const size_t index = static_cast<size_t>(file);
  return dropped_[index] == 0 && written_[index] + bytes <= maxRecordFileBytes - noteBytes;
}

void PendingRecord::append(RecordFile file, std::string_view bytes) noexcept {
  const size_t index = static_cast<size_t>(file);
  const uint64_t room =
      maxRecordFileBytes - noteBytes - std::min(written_[index], maxRecordFileBytes - noteBytes);
  const size_t take = dropped_[index] > 0 ? 0 : static_cast<size_t>(std::min<uint64_t>(room, bytes.size()));
  dropped_[index] += bytes.size() - take;
  if (take == 0 || failure_) return;
  try {
    writeAll(files_[index].get(), bytes.substr(0, take));
    written_[index] += take;
  } catch (const Error& error) {
    failure_ = error;
  }
}

void PendingRecord::finish(rpc::RunRecord::Reader record) {
  try {
    if (failure_) throw *failure_;
    for (size_t i = 0; i < recordFileCount; ++i) {
      if (dropped_[i] > 0)
        writeAll(files_[i].get(), text("\n[", dropped_[i], " more bytes are not stored]\n"));
    }
    writeAll(descriptor(RecordFile::record), toJson(record, {.pretty = true}) + "\n");
    for (size_t i = 0; i < recordFileCount; ++i) {
      if (fsync(files_[i].get()) != 0)
        throw storeError(text("write ", directory_, "/", recordFileName(static_cast<RecordFile>(i))));
    }
    unlinkat(partial_.get(), socketName, 0);
    if (fsync(partial_.get()) != 0) throw storeError("write " + directory_);
    if (renameat(runs_.get(), partialName_.c_str(), runs_.get(), id_.c_str()) != 0)
      throw storeError("rename to " + directory_);
    fsync(runs_.get());
  } catch (const Error& error) {
    discard();
    if (error.name() == "disk-full")
      throw Error(error.code(), error.name(), text("the run is not stored: ", error.message()), diskHint);
    throw;
  } catch (...) {
    discard();
    throw;
  }
  partial_.reset();
}

RecordStore RecordStore::open() {
  return RecordStore(userPlace("KTSTR_STATE_DIR", "XDG_STATE_HOME", ".local/state"));
}

RecordStore::RecordStore(std::string root)
    : runs_(std::filesystem::absolute(root).lexically_normal().string() + "/runs") {}

PendingRecord RecordStore::begin(std::string_view scenario, std::string_view scheduler,
                                 uint64_t startedUnixMs) {
  std::error_code failed;
  std::filesystem::create_directories(runs_, failed);
  if (failed)
    throw errnoError(failed.value() == ENOSPC ? "disk-full" : "open-failed", "create " + runs_, diskHint,
                     failed.value());

  PendingRecord record;
  record.runs_ = openFile(runs_, O_RDONLY | O_DIRECTORY);
  const Fd lock = openFile(runs_, O_RDONLY | O_DIRECTORY);
  if (flock(lock.get(), LOCK_EX) != 0) throw storeError("lock " + runs_);
  removeAbandoned(record.runs_.get(), runs_);

  record.id_ =
      text(utcTime(startedUnixMs), "-", cleanName(scenario), "-", cleanName(scheduler), "-", randomHex());
  record.directory_ = runs_ + "/" + record.id_;
  record.partialName_ = partialPrefix + record.id_;
  if (mkdirat(record.runs_.get(), record.partialName_.c_str(), 0755) != 0)
    throw storeError("create " + record.directory_);
  record.partial_ =
      Fd(openat(record.runs_.get(), record.partialName_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!record.partial_ || flock(record.partial_.get(), LOCK_EX) != 0)
    throw storeError("open " + record.directory_);
  for (size_t i = 0; i < recordFileCount; ++i) {
    const char* name = recordFileName(static_cast<RecordFile>(i));
    record.files_[i] =
        Fd(openat(record.partial_.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_APPEND, 0644));
    if (!record.files_[i]) throw storeError(text("create ", record.directory_, "/", name));
  }
  return record;
}

// ---- reading
// ----------------------------------------------------------------------------------------------------

std::vector<std::string> RecordStore::list() const {
  std::vector<std::string> ids;
  for (const std::string& name : namesIn(runs_)) {
    if (!name.starts_with('.') && isRun(runs_ + "/" + name)) ids.push_back(name);
  }
  std::sort(ids.rbegin(), ids.rend());
  return ids;
}

std::vector<std::string> RecordStore::running() const {
  std::vector<std::string> ids;
  for (const std::string& name : namesIn(runs_)) {
    const Fd directory(
        ::open(text(runs_, "/", name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (name.starts_with(partialPrefix) && directory && flock(directory.get(), LOCK_SH | LOCK_NB) != 0)
      ids.push_back(name.substr(strlen(partialPrefix)));
  }
  std::sort(ids.rbegin(), ids.rend());
  return ids;
}

RecordStore::Running RecordStore::connect(std::string_view name) const {
  const std::vector<std::string> ids = running();
  std::vector<std::string> matches;
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(matches),
               [&](const std::string& id) { return id.starts_with(name); });
  if (matches.empty()) {
    throw Error(ExitCode::usage, "run-not-found",
                ids.empty() ? text("no run is being made in ", runs_)
                            : text("no run whose id begins with \"", name, "\" is being made"),
                ids.empty() ? "start one with ktstr run, or name a machine with --vm SOCKET"
                            : "there is " + joined(ids));
  }
  if (matches.size() > 1)
    throw Error(ExitCode::usage, "run-ambiguous", text(matches.size(), " runs are being made"),
                "name one: " + joined(matches));
  const std::string directory = text(runs_, "/", partialPrefix, matches.front());
  const Fd held = openFile(directory, O_RDONLY | O_DIRECTORY);
  return {matches.front(), directory, connectUnix(socketPath(held.get()))};
}

std::string RecordStore::find(std::string_view name) const {
  const std::string wanted(name);
  if (wanted.find('/') != std::string::npos) {
    const std::filesystem::path path = std::filesystem::absolute(wanted).lexically_normal();
    const bool isFile = path.filename() == recordFileName(RecordFile::record);
    std::string directory = isFile ? path.parent_path().string() : path.string();
    if (directory.ends_with('/')) directory.pop_back();
    if (isRun(directory)) return directory;
    throw Error(ExitCode::usage, "record-not-found", text("no run is stored in ", directory),
                "see `ktstr record list`");
  }
  const std::vector<std::string> ids = list();
  if (wanted == "latest" && !ids.empty()) return runs_ + "/" + ids.front();
  std::vector<std::string> matches;
  for (const std::string& id : ids) {
    if (id == wanted) return runs_ + "/" + id;
    if (!wanted.empty() && id.starts_with(wanted)) matches.push_back(id);
  }
  if (matches.size() == 1) return runs_ + "/" + matches.front();
  if (matches.empty()) {
    throw Error(ExitCode::usage, "record-not-found",
                text("no run in ", runs_, " has the id \"", wanted, "\""),
                ids.empty() ? "no run is stored yet"
                            : text("the newest is ", ids.front(), "; see `ktstr record list`"));
  }
  throw Error(ExitCode::usage, "record-ambiguous", text(matches.size(), " runs begin with \"", wanted, "\""),
              "for example " + joined(matches));
}

void loadRecord(const std::string& directory, rpc::RunRecord::Builder out) {
  const std::string path = directory + "/" + recordFileName(RecordFile::record);
  const auto json = readFileIfThere(path, maxRecordFileBytes);
  if (!json)
    throw Error(ExitCode::usage, "record-unreadable", "cannot read " + path, "see `ktstr record list`");
  fromJson(*json, out);
}

}  // namespace ktstr
