// Where runs are kept: one directory per run with
//   record.json (pretty)  samples.jsonl  events.jsonl  console.log  scheduler.log  scenario.json
//   snapshots.jsonl
// under $KTSTR_STATE_DIR, else $XDG_STATE_HOME/ktstr, else ~/.local/state/ktstr, in runs/<id>.
// The id is "<UTC time>-<scenario>-<scheduler>-<6 hex>", so that names sort by time.
//
// A run is written aside (".partial-<id>") and renamed when it is complete: a directory without the dot is
// whole. Partial directories of processes that are gone are removed by the next begin().
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/record.capnp.h"

namespace ktstr {

enum class RecordFile { record, samples, events, console, scheduler, scenario, snapshots };
inline constexpr size_t recordFileCount = 7;
const char* recordFileName(RecordFile file);

// Of a file that grows without end (a console in a loop) this much is kept; a last line says how much is not.
inline constexpr uint64_t maxRecordFileBytes = uint64_t{64} << 20;

// A run being written. All files are open from the start, so that the process can be locked down: from then
// on it needs write, fsync, close, renameat (or renameat2), and unlinkat if it fails. Destruction without
// finish() removes the partial directory.
class PendingRecord {
 public:
  PendingRecord(PendingRecord&&) noexcept = default;
  ~PendingRecord();

  const std::string& id() const { return id_; }
  const std::string& directory() const { return directory_; }  // where it will be after finish()
  std::vector<int> descriptors() const;                        // all that are held open
  int descriptor(RecordFile file) const;  // for who writes by itself; append() bounds, this does not

  // Where a further file may be made while the run is written; it is kept, or removed, with the rest.
  std::string partialPath(const std::string& name);

  // A Unix socket in the directory, for who wants something of the run while it is written; gone with
  // finish(). Throws Error "listen-failed".
  Fd listen();

  // Whether so many bytes more are kept whole.
  bool fits(RecordFile file, size_t bytes) const;
  // Never throws: the first failure is kept for finish(), so that a full disk does not end a run.
  void append(RecordFile file, std::string_view bytes) noexcept;

  // Writes record.json, syncs, renames. Throws what append() kept or what fails now, mostly Error
  // "disk-full"; the partial directory is then gone.
  void finish(rpc::RunRecord::Reader record);

 private:
  friend class RecordStore;
  PendingRecord() = default;
  void discard() noexcept;

  std::string id_, directory_, partialName_;
  std::vector<std::string> furtherFiles_;
  Fd runs_, partial_;
  std::array<Fd, recordFileCount> files_;
  std::array<uint64_t, recordFileCount> written_{}, dropped_{};
  std::optional<Error> failure_;
};

class RecordStore {
 public:
  // Where the environment says (see above).
  static RecordStore open();
  // `root` is what KTSTR_STATE_DIR would name; made when first needed.
  explicit RecordStore(std::string root);

  // Throws Error "open-failed", "disk-full".
  PendingRecord begin(std::string_view scenario, std::string_view scheduler, uint64_t startedUnixMs);

  // Ids of whole runs, newest first.
  std::vector<std::string> list() const;

  // Directory of a run by id, a prefix of exactly one id, "latest", or a path (its directory or its
  // record.json). Throws Error "record-not-found", "record-ambiguous" (usage) naming the candidates.
  std::string find(std::string_view name) const;

  // Ids of the runs that are being written, newest first.
  std::vector<std::string> running() const;
  // Connects to the socket of one, by id or a prefix of exactly one, "" for the only one. Throws Error
  // "run-not-found", "run-ambiguous" (usage), "connect-failed".
  struct Running {
    std::string id, directory;
    Fd socket;
  };
  Running connect(std::string_view name) const;

  const std::string& runsDirectory() const { return runs_; }

 private:
  std::string runs_;
};

// Reads record.json of a run's directory. Throws Error "record-unreadable", "json-invalid".
void loadRecord(const std::string& directory, rpc::RunRecord::Builder out);

}  // namespace ktstr
