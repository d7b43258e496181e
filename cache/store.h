// The content-addressed store: entries of files that never change once they are visible.
//
// Place: $KTSTR_CACHE_DIR, else $XDG_CACHE_HOME/ktstr, else ~/.cache/ktstr. In it:
//   entries/KIND/KEY/   metadata.json (rpc::EntryRecord), its digest, the files it names, and `verified`
//   aliases/KIND/NAME   one line: the key that NAME stands for
//   tmp/                entries being written, one directory each; those of dead writers are removed on
//   open locks/              flock files, one per entry that was ever made quarantine/         entries whose
//   digest did not match, for inspection; never read again
//
// Guarantees, also across processes and kill -9:
//   - an entry is either absent or complete: written aside, fsynced, renamed;
//   - makers of one key wait for each other, and only the first does the work (findOrMake);
//   - what find() returns has been verified by SHA-256. A verified entry is stamped with size, mtime, ctime
//   and inode
//     of each file, so a further find() of an unchanged entry costs only stats.
// An Entry stays readable through descriptors opened before it is removed.
//
// Kinds in use: "kernel" (kernel.h), "source" (kernel source packages), "analysis" (by build id; file
// "analysis"), "base" (initramfs bases), "kit" (what builds of schedulers from one kernel source share),
// "scheduler" (built schedulers). Kinds, keys and file names match [A-Za-z0-9._+-]{1,200} and do not begin
// with a dot; Error "cache-key-invalid" otherwise.
#pragma once

#include <capnp/message.h>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/cache.capnp.h"
#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr::cache {

// A visible, verified entry. Cheap to copy.
class Entry {
 public:
  rpc::EntryRecord::Reader record() const&;  // valid as long as this Entry or a copy of it
  rpc::EntryRecord::Reader record() && = delete;
  std::string kind() const;
  std::string key() const;
  const std::string& directory() const { return directory_; }

  bool has(std::string_view file) const;
  // Absolute path of one of the entry's files. Throws Error "cache-file-missing" naming what there is.
  std::string path(std::string_view file) const;
  Fd open(std::string_view file) const;  // read-only; errors as path() and openFile()
  std::string read(std::string_view file) const;
  std::optional<std::string> attribute(std::string_view name) const;

 private:
  friend class Store;
  std::string directory_;
  std::shared_ptr<capnp::MallocMessageBuilder> message_;
};

// An entry being written, invisible to others. Errors of writing: "disk-full", "write-failed"; whatever is
// thrown while one is being filled, nothing of it stays behind.
class Draft {
 public:
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft();

  // A new file; the digest is taken when the entry is published, so the caller may go on writing until then.
  Fd create(std::string_view file);
  void write(std::string_view file, std::span<const std::byte> bytes);
  void write(std::string_view file, std::string_view bytes);
  // For tools that want a place: the directory the files are in. Only regular files directly in it are kept.
  const std::string& directory() const { return directory_; }
  void attribute(std::string_view name, std::string_view value);
  rpc::KernelFacts::Builder kernel();

 private:
  friend class Store;
  Draft(std::string directory, Fd lock) : directory_(std::move(directory)), lock_(std::move(lock)) {}
  void seal(std::string_view kind, std::string_view key);

  std::string directory_;
  Fd lock_;  // flock on the directory for as long as its writer lives
  std::vector<std::pair<std::string, std::string>> attributes_;
  capnp::MallocMessageBuilder message_;
};

class Store {
 public:
  using Fill = std::function<void(Draft&)>;
  using OnCorrupt = std::function<void(const Error&)>;

  // Opens, and makes if need be, the store at its place (see above) or at `root`. Throws Error
  // "cache-unusable" naming the path and errno.
  static Store open();
  static Store open(std::string root);
  static std::string defaultRoot();

  const std::string& root() const { return root_; }

  // The entry, verified, or nothing. A corrupt one is moved to quarantine/ and reported as Error
  // "cache-entry-corrupt" with file, expected and found digest and where it is now: to onCorrupt, after which
  // nothing is returned, or thrown if there is no onCorrupt. Asking again then finds nothing, so the entry
  // can be made anew.
  std::optional<Entry> find(std::string_view kind, std::string_view key,
                            const OnCorrupt& onCorrupt = {}) const;

  // The entry; made by `fill` if it is not there, once, whoever else asks at the same time in whatever
  // process. A corrupt one is reported to onCorrupt (if any) and made anew.
  Entry findOrMake(std::string_view kind, std::string_view key, const Fill& fill,
                   const OnCorrupt& onCorrupt = {}) const;

  // As findOrMake, without lock and look-up first: always fills, but if somebody else has published the key
  // meanwhile, theirs stays and is returned.
  Entry put(std::string_view kind, std::string_view key, const Fill& fill) const;

  // Runs `work` while holding the flock of (kind, key): for work that is shared before its key is known.
  // Not recursive. Released by the kernel if the process dies.
  void withKeyLock(std::string_view kind, std::string_view key, const std::function<void()>& work) const;

  // All entries of a kind by key, with readable metadata; files are not verified. Unreadable ones are left
  // out.
  std::vector<Entry> list(std::string_view kind) const;
  // Reads every byte, whatever the stamp says. Throws Error "cache-entry-corrupt" as find() does.
  void verify(const Entry& entry) const;
  // True if there was one.
  bool remove(std::string_view kind, std::string_view key) const;

  // Names that stand for keys. They may dangle.
  void setAlias(std::string_view kind, std::string_view name, std::string_view key) const;
  std::optional<std::string> alias(std::string_view kind, std::string_view name) const;

 private:
  explicit Store(std::string root) : root_(std::move(root)) {}
  std::string entryPath(std::string_view kind, std::string_view key) const;
  std::unique_ptr<Draft> newDraft() const;
  void removeStaleDrafts() const;
  Error quarantine(const std::string& directory, const Error& why) const;

  std::string root_;
};

// Throws Error "cache-key-invalid" unless `name` may be used as a kind, key or file name.
void checkName(std::string_view name);
// Any text as a valid name: characters that are not allowed become '_'; too long or ambiguous ones end in a
// digest.
std::string asName(std::string_view text);

}  // namespace ktstr::cache
