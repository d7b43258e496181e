#include "orchestrator/library/series.h"

#include <algorithm>

#include "orchestrator/library/listed.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxFileBytes = size_t{128} << 20;  // more than a record's files may have

Error missing(const std::string& name, const std::string& why) {
  return Error(ExitCode::inconclusive, "snapshot-missing", text(name, " was not taken: ", why));
}

// The file of a run that has a Dump on each line.
class Dumps {
 public:
  explicit Dumps(rpc::RunRecord::Reader record) : directory_(record.getDirectory().cStr()) {}

  Snapshot load(rpc::SnapshotFacts::Reader facts) {
    const std::string name = facts.getName().cStr();
    if (facts.getFile().size() == 0) throw missing(name, facts.getFailure().cStr());
    if (content_.empty()) content_ = readFile(text(directory_, '/', facts.getFile().cStr()), maxFileBytes);
    const std::string begin = text(R"({"name":")", name, "\",");
    for (size_t at = 0; at < content_.size();) {
      const size_t end = std::min(content_.find('\n', at), content_.size());
      if (content_.compare(at, begin.size(), begin) == 0) return Snapshot(content_.substr(at, end - at));
      at = end + 1;
    }
    throw missing(name, text("it is not in ", facts.getFile().cStr()));
  }

 private:
  std::string directory_, content_;
};

}  // namespace

size_t SampleSeries::taken() const {
  return static_cast<size_t>(std::count_if(samples_.begin(), samples_.end(),
                                           [](const auto& sample) { return sample.snapshot.has_value(); }));
}

SeriesPoint SampleSeries::pointOf(const SeriesSample& sample,
                                  const std::function<SeriesNumber(const Snapshot&)>& read) {
  if (!sample.snapshot) return {sample.tag, sample.atMs, missing(sample.tag, sample.missing)};
  try {
    return {sample.tag, sample.atMs, read(*sample.snapshot)};
  } catch (const Error& error) {
    return {sample.tag, sample.atMs, error};
  }
}

Snapshot snapshotOf(rpc::RunRecord::Reader record, std::string_view name) {
  std::vector<std::string> names;
  for (const auto facts : record.getSnapshots()) {
    if (name == facts.getName().cStr()) return Dumps(record).load(facts);
    names.emplace_back(facts.getName().cStr());
  }
  throw Error(ExitCode::usage, "snapshot-not-found", text("the run has no snapshot \"", name, '"'),
              listed(names));
}

SampleSeries seriesOf(rpc::RunRecord::Reader record) {
  Dumps dumps(record);
  std::vector<SeriesSample> samples;
  for (const auto facts : record.getSnapshots()) {
    if (facts.getReason() != rpc::DumpReason::PERIODIC) continue;
    SeriesSample& sample = samples.emplace_back(SeriesSample{facts.getName().cStr(), facts.getAtMs(), {}});
    try {
      sample.snapshot = dumps.load(facts);
    } catch (const Error& error) {
      sample.missing = error.name() == "snapshot-missing" ? facts.getFailure().cStr() : error.what();
    }
  }
  return SampleSeries(std::move(samples));
}

}  // namespace ktstr
