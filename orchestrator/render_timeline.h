// The timeline for people, as render.h.
#pragma once

#include <string>

#include "protocol/record.capnp.h"

namespace ktstr {

enum class TimelineView {
  brief,  // below a record: a table of phases, cut after some lines; nothing of a run of a single phase
  whole   // all phases, with all that began each
};

std::string renderTimeline(rpc::RunRecord::Reader record, TimelineView view, bool colour);

}  // namespace ktstr
