// What an entry's directory holds besides its files, and checking the files against it. Used by the store
// alone.
//   metadata.json         rpc::EntryRecord
//   metadata.sha256       its digest
//   verified              what the files looked like when they were last verified: "NAME SIZE MTIME CTIME
//   INODE" lines
#pragma once

#include <capnp/message.h>

#include <memory>
#include <string>

#include "protocol/cache.capnp.h"
#include "protocol/error.h"

namespace ktstr::cache {

// What is wrong with an entry; the store turns it into "cache-entry-corrupt" once it has moved the entry
// away.
class CorruptEntry : public Error {
 public:
  explicit CorruptEntry(std::string message)
      : Error(ExitCode::infrastructure, "cache-entry-corrupt", std::move(message), "get it again") {}
};

// Throws CorruptEntry if the metadata is missing, does not match its digest or is not an EntryRecord.
std::shared_ptr<capnp::MallocMessageBuilder> loadRecord(const std::string& directory);

// Checks size and digest of every file; with trustStamp, the digest only of files that changed since
// `verified` was written. Renews the stamp, if it can be written. Throws CorruptEntry.
void verifyFiles(const std::string& directory, rpc::EntryRecord::Reader record, bool trustStamp);

// Writes metadata, its digest and the stamp of an entry whose files are complete, and fsyncs the directory.
void writeRecord(const std::string& directory, rpc::EntryRecord::Reader record);

// True for the three names above.
bool isReservedFile(std::string_view name);

void syncDirectory(const std::string& path);

// errnoError, but "disk-full" if that is what it is. errnum 0: errno.
Error storageError(const std::string& name, const std::string& doing, int errnum = 0);

}  // namespace ktstr::cache
