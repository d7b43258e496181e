// The dumps in a run's directory: snapshots.jsonl, also while the run is being written.
#pragma once

#include <string>
#include <string_view>

#include "protocol/dump.capnp.h"

namespace ktstr {

// Throws Error "snapshot-not-found" (usage), which names those that are there, "json-invalid".
void loadSnapshot(const std::string& directory, std::string_view name, rpc::Dump::Builder out);

// Who asks for a name that is taken gets NAME-2, NAME-3, ...: the last of them that came, else NAME.
std::string newestSnapshot(const std::string& directory, const std::string& name);

}  // namespace ktstr
