#include "orchestrator/snapshot_store.h"

#include <algorithm>
#include <vector>

#include "orchestrator/record_store.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

struct Line {
  std::string name, json;
};

// A line begins with the dump's name (protocol/dump.capnp).
std::vector<Line> readLines(const std::string& directory) {
  constexpr std::string_view head = "{\"name\":\"";
  const std::string path = directory + "/" + recordFileName(RecordFile::snapshots);
  const std::string all = readFileIfThere(path, maxRecordFileBytes).value_or("");
  std::vector<Line> lines;
  for (size_t at = 0; at < all.size();) {
    const size_t end = std::min(all.find('\n', at), all.size());
    const std::string json = all.substr(at, end - at);
    if (json.starts_with(head))
      lines.push_back({json.substr(head.size(), json.find('"', head.size()) - head.size()), json});
    at = end + 1;
  }
  return lines;
}

bool isNumbered(const std::string& name, const std::string& wanted) {
  const std::string prefix = wanted + "-";
  return name.starts_with(prefix) && name.find_first_not_of("0123456789", prefix.size()) == std::string::npos;
}

}  // namespace

void loadSnapshot(const std::string& directory, std::string_view name, rpc::Dump::Builder out) {
  std::string names;
  for (const auto& line : readLines(directory)) {
    if (line.name == name) return fromJson(line.json, out);
    names += (names.empty() ? "" : ", ") + line.name;
  }
  throw Error(ExitCode::usage, "snapshot-not-found", text("the run has no snapshot \"", name, "\""),
              names.empty() ? "it has none" : "it has " + names);
}

std::string newestSnapshot(const std::string& directory, const std::string& name) {
  std::string newest = name;
  for (const auto& line : readLines(directory)) {
    if (line.name == name || isNumbered(line.name, name)) newest = line.name;
  }
  return newest;
}

}  // namespace ktstr
