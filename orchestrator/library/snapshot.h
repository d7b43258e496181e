// The state of a scheduler at one moment (protocol/dump.capnp), to be asked:
//
//   const Snapshot before = ctx.last().snapshot("before");
//   EXPECT_GT(before.var("nr_queued").asU64(), 0u);
//   EXPECT_EQ(before.map("cpu_ctx_stor").cpu(1).at(0).get("dsp_cnt").asI64(), 5);
//
// Errors as in snapshot_field.h, and by name:
//   map-not-found, map-ambiguous   the maps there are, or that it could be
//   var-not-found, var-ambiguous   the variables there are, or the maps that have it
//   per-cpu-not-narrowed           a per-CPU map that was not asked for the values of one CPU
//   no-match                       of find() and maxBy(): how many entries there are, and keys of some
//   stats-missing                  the scheduler's own statistics are not in the dump; the reason
//   figure-unknown                 the figures there are
#pragma once

#include <capnp/message.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/library/snapshot_field.h"
#include "protocol/dump.capnp.h"

namespace ktstr {

class SnapshotEntry {
 public:
  // `map` lives as long as `owner`.
  SnapshotEntry(std::shared_ptr<const void> owner, rpc::MapState::Reader map, rpc::MapEntry::Reader entry)
      : owner_(std::move(owner)), map_(map), entry_(entry) {}

  SnapshotField key() const;
  SnapshotField value() const;
  SnapshotField get(std::string_view path) const { return value().get(path); }
  int cpu() const { return entry_.getCpu(); }  // -1: of no CPU

 private:
  SnapshotField side(const char* name, capnp::Text::Reader json) const;

  std::shared_ptr<const void> owner_;
  rpc::MapState::Reader map_;
  rpc::MapEntry::Reader entry_;
};

class SnapshotMap {
 public:
  // Its entries, `cpu` >= 0: only those of that CPU.
  SnapshotMap(std::shared_ptr<const void> owner, rpc::MapState::Reader map, int cpu = -1);

  std::string name() const { return map_.getName().cStr(); }
  rpc::MapState::Reader record() const { return map_; }
  size_t size() const { return entries_.size(); }
  bool isPerCpu() const;

  // Of a per-CPU map the values of one CPU. Throws Error "index-out-of-range".
  SnapshotMap cpu(uint32_t number) const;

  // The following throw Error "per-cpu-not-narrowed" for a per-CPU map without cpu().
  using Test = std::function<bool(const SnapshotEntry&)>;
  SnapshotEntry at(size_t index) const;      // in the order of the dump: an array's by their index
  SnapshotEntry find(const Test& is) const;  // the first
  std::vector<SnapshotEntry> filter(const Test& is) const;
  SnapshotEntry maxBy(const std::function<double(const SnapshotEntry&)>& figure) const;

 private:
  void requireNarrowed() const;
  [[noreturn]] void noMatch(const char* operation) const;

  std::shared_ptr<const void> owner_;
  rpc::MapState::Reader map_;
  int cpu_;
  std::vector<SnapshotEntry> entries_;
};

class Snapshot {
 public:
  // `json`: a Dump as `ktstr snapshot` writes it. Throws Error "json-invalid".
  explicit Snapshot(const std::string& json);

  rpc::Dump::Reader record() const { return dump_; }  // all of it
  std::string name() const { return dump_.getName().cStr(); }

  // By its name, or the end of it that only one map has (".bss").
  SnapshotMap map(std::string_view name) const;
  // A variable of the scheduler: of .bss, .data or .rodata.
  SnapshotField var(std::string_view name) const { return sectionWith(name).get(name); }
  // A path into a variable, "nr_queued", "ctx[2].count", or into the one value of a map, ".bss:nr_queued".
  SnapshotField bpf(std::string_view path) const;
  // What the scheduler's own statistics say, asked for just before the snapshot of a series.
  SnapshotField stats(std::string_view path) const;
  // Over all CPUs: nrRunning, scxNrRunning, queuedTasks (on any DSQ), maxLocalDsqDepth, tasks, or an
  // SCX_EV_... counter.
  double figure(std::string_view name) const;

 private:
  SnapshotField sectionWith(std::string_view variable) const;
  std::string reasonFor(std::string_view section) const;  // of its absence

  std::shared_ptr<capnp::MallocMessageBuilder> message_;
  rpc::Dump::Reader dump_;
};

}  // namespace ktstr
