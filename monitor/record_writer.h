// Writes MonitorRecords to a stream: JSON Lines, Cap'n Proto stream framing (unpacked), or lines for people.
#pragma once

#include <string>
#include <string_view>

#include "protocol/sample.capnp.h"

namespace ktstr {

enum class RecordFormat { jsonl, capnp, text };

// "jsonl", "capnp" or "text". Throws Error "format-invalid" (usage).
RecordFormat parseRecordFormat(std::string_view name);

class RecordWriter {
 public:
  // The descriptor is borrowed.
  RecordWriter(int fd, RecordFormat format) : fd_(fd), format_(format) {}

  // One record, in one write where the kernel allows. False if the stream was closed or failed; failure()
  // says how.
  bool write(rpc::MonitorRecord::Reader record);
  const std::string& failure() const { return failure_; }

 private:
  int fd_;
  RecordFormat format_;
  std::string failure_;
};

// A record as one line for people, without the newline:
//   "#12 +1.2s jiffies 4294942111 scx enabled simple | cpu0 2 runnable, yes[118], scx 2, local 1 | cpu1 ..."
std::string recordAsText(rpc::MonitorRecord::Reader record);

}  // namespace ktstr
