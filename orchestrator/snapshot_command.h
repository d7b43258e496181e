// `ktstr snapshot`, and `ktstr record show --snapshot`.
#pragma once

#include <string>

namespace ktstr {

struct SnapshotOptions {
  std::string run;  // id of a run that is being made, or how it begins; empty: the only one
  std::string vm;   // observe socket of a machine instead
  std::string name = "demand";
  bool asLine = false;  // JSON Lines, else text
};

// Asks the run for a dump, which the run keeps, and prints it; of a machine becomes `ktstr-monitor dump`.
// Throws Error "run-not-found", "run-ambiguous" (usage), "connect-failed", "snapshot-failed".
int takeSnapshot(const SnapshotOptions& options);

// Prints a dump of a stored run. Throws what RecordStore::find() and loadSnapshot() throw.
int showSnapshot(const std::string& record, const std::string& name, bool asLine);

}  // namespace ktstr
