#include "orchestrator/library/snapshot.h"

#include <algorithm>
#include <map>

#include "orchestrator/library/listed.h"
#include "protocol/error.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t shownKeys = 3, shownBytes = 80;

[[noreturn]] void fail(const char* name, const std::string& message, const std::string& hint = {}) {
  throw Error(ExitCode::usage, name, message, hint);
}

std::string because(capnp::Text::Reader incomplete) {
  return incomplete.size() == 0 ? "" : text("; the dump has not all of it: ", incomplete.cStr());
}

bool holdsVariables(std::string_view name) {
  return name.ends_with(".bss") || name.ends_with(".data") || name.ends_with(".rodata");
}

using Figure = double (*)(rpc::Dump::Reader);

const std::map<std::string_view, Figure>& figures() {
  static const std::map<std::string_view, Figure> all = {
      {"nrRunning",
       [](rpc::Dump::Reader dump) {
         double sum = 0;
         for (const auto cpu : dump.getCpus()) sum += cpu.getNrRunning();
         return sum;
       }},
      {"scxNrRunning",
       [](rpc::Dump::Reader dump) {
         double sum = 0;
         for (const auto cpu : dump.getCpus()) sum += cpu.getScxNrRunning();
         return sum;
       }},
      {"queuedTasks",
       [](rpc::Dump::Reader dump) {
         double sum = 0;
         for (const auto dsq : dump.getDsqs()) sum += dsq.getNr();
         return sum;
       }},
      {"maxLocalDsqDepth",
       [](rpc::Dump::Reader dump) {
         double most = 0;
         for (const auto dsq : dump.getDsqs()) {
           if (dsq.getKind() == rpc::DsqKind::LOCAL) most = std::max<double>(most, dsq.getNr());
         }
         return most;
       }},
      {"tasks", [](rpc::Dump::Reader dump) { return static_cast<double>(dump.getTasks().size()); }}};
  return all;
}

// The section of a dump that a figure is made of.
std::string_view sectionOf(std::string_view figure) {
  if (figure == "tasks") return "tasks";
  return figure.ends_with("Running") ? "cpus" : "dsqs";
}

}  // namespace

SnapshotField SnapshotEntry::key() const {
  return side("key", entry_.getKey());
}

SnapshotField SnapshotEntry::value() const {
  return side("value", entry_.getValue());
}

SnapshotField SnapshotEntry::side(const char* name, capnp::Text::Reader json) const {
  const std::string path = text(map_.getName().cStr(), '[', entry_.getKey().cStr(), ']');
  if (json.size() == 0) {
    throw Error(ExitCode::inconclusive, "not-rendered",
                text(path, " has no ", name, because(map_.getIncomplete())));
  }
  return SnapshotField::parse(path, {json.begin(), json.size()});
}

SnapshotMap::SnapshotMap(std::shared_ptr<const void> owner, rpc::MapState::Reader map, int cpu)
    : owner_(std::move(owner)), map_(map), cpu_(cpu) {
  for (const auto entry : map.getEntries()) {
    if (cpu < 0 || entry.getCpu() == cpu) entries_.emplace_back(owner_, map, entry);
  }
}

bool SnapshotMap::isPerCpu() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.cpu() >= 0; });
}

SnapshotMap SnapshotMap::cpu(uint32_t number) const {
  SnapshotMap narrowed(owner_, map_, static_cast<int>(number));
  if (narrowed.size() > 0) return narrowed;
  int last = -1;
  for (const auto& entry : entries_) last = std::max(last, entry.cpu());
  fail("index-out-of-range",
       text("map ", name(), " has no values of CPU ", number, because(map_.getIncomplete())),
       last < 0 ? "its values are of no CPU" : text("its last CPU is ", last));
}

void SnapshotMap::requireNarrowed() const {
  if (cpu_ >= 0 || !isPerCpu()) return;
  fail("per-cpu-not-narrowed", text("map ", name(), " has values of each CPU"), "ask for one with cpu(N)");
}

SnapshotEntry SnapshotMap::at(size_t index) const {
  requireNarrowed();
  if (index < entries_.size()) return entries_[index];
  fail("index-out-of-range", text("map ", name(), " has no entry ", index, because(map_.getIncomplete())),
       text("it has ", entries_.size()));
}

std::vector<SnapshotEntry> SnapshotMap::filter(const Test& is) const {
  requireNarrowed();
  std::vector<SnapshotEntry> found;
  std::copy_if(entries_.begin(), entries_.end(), std::back_inserter(found), is);
  return found;
}

SnapshotEntry SnapshotMap::find(const Test& is) const {
  requireNarrowed();
  const auto found = std::find_if(entries_.begin(), entries_.end(), is);
  if (found == entries_.end()) noMatch("find");
  return *found;
}

SnapshotEntry SnapshotMap::maxBy(const std::function<double(const SnapshotEntry&)>& figure) const {
  requireNarrowed();
  if (entries_.empty()) noMatch("maxBy");
  return *std::max_element(entries_.begin(), entries_.end(),
                           [&](const auto& one, const auto& other) { return figure(one) < figure(other); });
}

void SnapshotMap::noMatch(const char* operation) const {
  std::vector<std::string> keys;
  for (const auto entry : map_.getEntries()) {
    if (keys.size() < shownKeys) keys.push_back(std::string(entry.getKey().cStr()).substr(0, shownBytes));
  }
  fail("no-match",
       text(operation, ": none of the ", entries_.size(), " entries of map ", name(),
            because(map_.getIncomplete())),
       keys.empty() ? "" : listed(keys));
}

Snapshot::Snapshot(const std::string& json) : message_(std::make_shared<capnp::MallocMessageBuilder>()) {
  auto dump = message_->initRoot<rpc::Dump>();
  fromJson(json, dump);
  dump_ = dump.asReader();
}

std::string Snapshot::reasonFor(std::string_view section) const {
  for (const auto absent : dump_.getAbsent()) {
    if (section == absent.getSection().cStr()) return absent.getReason().cStr();
  }
  return "";
}

SnapshotMap Snapshot::map(std::string_view name) const {
  std::vector<rpc::MapState::Reader> exact, ending;
  std::vector<std::string> names, candidates;
  for (const auto map : dump_.getMaps()) {
    const std::string_view own(map.getName().begin(), map.getName().size());
    names.emplace_back(own);
    if (own == name) exact.push_back(map);
    if (own.ends_with(name)) ending.push_back(map), candidates.emplace_back(own);
  }
  const auto& found = exact.empty() ? ending : exact;
  if (found.size() == 1) return {message_, found.front()};
  if (found.empty()) {
    const std::string why = reasonFor("maps");
    fail("map-not-found", text("no map \"", name, "\" in ", this->name(), why.empty() ? "" : ": ", why),
         listed(names));
  }
  fail("map-ambiguous", text(found.size(), " maps are \"", name, '"'), listed(candidates));
}

SnapshotField Snapshot::sectionWith(std::string_view name) const {
  std::vector<SnapshotField> found;
  std::vector<std::string> names, holders;
  for (const auto map : dump_.getMaps()) {
    if (!holdsVariables({map.getName().begin(), map.getName().size()}) || map.getEntries().size() == 0)
      continue;
    const SnapshotField section = SnapshotMap(message_, map).at(0).value();
    for (const auto& member : section.tree().members) names.push_back(member.first);
    if (section.tree().find(name) == nullptr) continue;
    found.push_back(section);
    holders.emplace_back(map.getName().cStr());
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    const std::string why = reasonFor("maps");
    fail("var-not-found", text("no variable \"", name, "\" in ", this->name(), why.empty() ? "" : ": ", why),
         listed(names));
  }
  fail("var-ambiguous", text("more than one variable is called \"", name, '"'),
       text(listed(holders), "; ask for map(...).at(0).get(\"", name, "\")"));
}

SnapshotField Snapshot::bpf(std::string_view path) const {
  const size_t colon = path.find(':');
  if (colon != std::string_view::npos) return map(path.substr(0, colon)).at(0).get(path.substr(colon + 1));
  return sectionWith(path.substr(0, path.find_first_of(".["))).get(path);
}

SnapshotField Snapshot::stats(std::string_view path) const {
  const auto json = dump_.getSchedulerStats();
  if (json.size() == 0) {
    const std::string why = reasonFor("schedulerStats");
    throw Error(ExitCode::inconclusive, "stats-missing",
                text(name(), " has no statistics of the scheduler's own: ",
                     why.empty() ? "they were not asked for" : why));
  }
  const SnapshotField answer = SnapshotField::parse("stats", {json.begin(), json.size()});
  const JsonTree* const number = answer.tree().find("errno");
  if (number == nullptr) return answer.get(path);
  if (number->number != 0)
    throw Error(ExitCode::inconclusive, "stats-missing",
                text("the scheduler answers with error ", number->number));
  return answer.get("args.resp").get(path);
}

double Snapshot::figure(std::string_view name) const {
  std::vector<std::string> names;
  if (const auto found = figures().find(name); found != figures().end()) {
    const std::string why = reasonFor(sectionOf(name));
    if (!why.empty()) throw Error(ExitCode::inconclusive, "not-rendered", text(name, ": ", why));
    return found->second(dump_);
  }
  for (const auto& [own, make] : figures()) names.emplace_back(own);
  for (const auto event : dump_.getEvents()) {
    if (name == event.getName().cStr()) return static_cast<double>(event.getCount());
    names.emplace_back(event.getName().cStr());
  }
  fail("figure-unknown", text("no figure \"", name, '"'), listed(names));
}

}  // namespace ktstr
