// Writes MonitorRecords to a stream: JSON Lines, Cap'n Proto stream framing (unpacked), or lines for people.
#pragma once

#include <string>
#include <string_view>

#include "monitor/sample_text.h"
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
  // Without the newline at the end: a line, or of a sample lines (sample_text.h).
  std::string asText(rpc::MonitorRecord::Reader record);

  int fd_;
  RecordFormat format_;
  std::string failure_;
  SampleText samples_;
};

}  // namespace ktstr
