// Records for people: plain text for a terminal, at most 100 columns.
#pragma once

#include <span>
#include <string>

#include "protocol/record.capnp.h"

namespace ktstr {

// Headline, findings with hint and evidence, a table of work groups, the same beside EEVDF, the timeline in
// brief, what the monitor saw, where the time went, where it is kept.
std::string renderRecord(rpc::RunRecord::Reader record, bool colour);

// One scenario under several schedulers: a column for each. More columns than fit go into further tables
// below.
std::string renderComparison(std::span<const rpc::RunRecord::Reader> records, bool colour);

}  // namespace ktstr
