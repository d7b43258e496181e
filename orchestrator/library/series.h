// The periodic snapshots of a run, and figures along them (series_field.h):
//
//   const SampleSeries series = ctx.last().series();
//   EXPECT_TRUE(series.bpf<uint64_t>("nr_enqueued").strictlyIncreasing());
//   EXPECT_TRUE(series.figure("queuedTasks").each().atMost(100));
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/library/series_field.h"
#include "orchestrator/library/snapshot.h"

namespace ktstr {

struct SeriesSample {
  std::string tag;  // "periodic_000"
  double atMs;
  std::optional<Snapshot> snapshot;
  std::string missing = {};  // why there is none
};

class SampleSeries {
 public:
  // One for each that was planned, in their order.
  explicit SampleSeries(std::vector<SeriesSample> samples) : samples_(std::move(samples)) {}

  size_t size() const { return samples_.size(); }
  size_t taken() const;
  const std::vector<SeriesSample>& samples() const { return samples_; }

  // Snapshot::bpf(), stats() and figure() of each.
  template <typename T>
  SeriesField<T> bpf(const std::string& path) const {
    return field<T>(path, [&path](const Snapshot& snapshot) { return snapshot.bpf(path).as<T>(); });
  }
  template <typename T>
  SeriesField<T> stats(const std::string& path) const {
    return field<T>("stats." + path,
                    [&path](const Snapshot& snapshot) { return snapshot.stats(path).as<T>(); });
  }
  SeriesField<double> figure(const std::string& name) const {
    return field<double>(name, [&name](const Snapshot& snapshot) { return snapshot.figure(name); });
  }

  // Anything else. An Error that it throws is that sample's.
  template <typename T>
  SeriesField<T> field(const std::string& label, const std::function<T(const Snapshot&)>& read) const {
    std::vector<SeriesPoint> points;
    for (const SeriesSample& sample : samples_)
      points.push_back(
          pointOf(sample, [&](const Snapshot& s) { return static_cast<SeriesNumber>(read(s)); }));
    return SeriesField<T>(label, std::move(points));
  }

 private:
  static SeriesPoint pointOf(const SeriesSample& sample,
                             const std::function<SeriesNumber(const Snapshot&)>& read);

  std::vector<SeriesSample> samples_;
};

// Of a run whose record is in its directory. Throws Error "snapshot-not-found", naming those there are,
// "snapshot-missing" with the reason if it was not taken, and as Snapshot.
Snapshot snapshotOf(rpc::RunRecord::Reader record, std::string_view name);
SampleSeries seriesOf(rpc::RunRecord::Reader record);

}  // namespace ktstr
