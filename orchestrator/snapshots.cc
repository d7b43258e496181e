#include "orchestrator/snapshots.h"

#include <capnp/message.h>

#include <algorithm>

#include "orchestrator/findings.h"
#include "protocol/json.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr auto patience = 10 * kj::SECONDS;
constexpr size_t maxName = 64;

bool isNameCharacter(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '-';
}

bool isName(const std::string& name) {
  return !name.empty() && name.size() <= maxName && std::all_of(name.begin(), name.end(), isNameCharacter);
}

}  // namespace

std::string snapshotName(std::string name) {
  name.resize(std::min(name.size(), maxName));
  for (char& c : name) c = isNameCharacter(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

Snapshots::Snapshots(PendingRecord& record, kj::Timer& timer, kj::Maybe<rpc::Monitor::Client> monitor)
    : record_(record), timer_(timer), monitor_(kj::mv(monitor)), tasks_(*this) {}

void Snapshots::taskFailed(kj::Exception&& exception) {
  log::warn(text("a snapshot: ", exception.getDescription().cStr()));
}

Snapshots::Entry& Snapshots::enter(std::string name, rpc::DumpReason reason) {
  const auto isTaken = [&](const std::string& wanted) {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const auto& entry) { return entry->fact.name == wanted; });
  };
  std::string unique = name;
  for (unsigned i = 2; isTaken(unique); ++i) {
    const std::string suffix = text("-", i);
    unique = name.substr(0, maxName - suffix.size()) + suffix;
  }
  auto& entry = *entries_.emplace_back(std::make_unique<Entry>());
  entry.fact.name = unique;
  entry.fact.reason = reason;
  return entry;
}

void Snapshots::settle(Entry& entry, const std::string& failure) {
  if (entry.settled) return;
  entry.settled = true;
  entry.fact.failure = failure;
  if (entry.arrived) entry.arrived->fulfill();
}

size_t Snapshots::countLike(rpc::DumpReason reason) const {
  const bool ofSeries = reason == rpc::DumpReason::PERIODIC;
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return (entry->fact.reason == rpc::DumpReason::PERIODIC) == ofSeries;
  }));
}

void Snapshots::miss(std::string name, rpc::DumpReason reason, const std::string& failure) {
  if (countLike(reason) <= most) settle(enter(snapshotName(std::move(name)), reason), failure);
}

kj::Promise<SnapshotFact> Snapshots::take(std::string name, rpc::DumpReason reason,
                                          std::string schedulerStats, std::string noStats) {
  const std::string tooMany = text("too-many: a run has at most ", most);
  if (countLike(reason) > most) return SnapshotFact{snapshotName(name), reason, 0, 0, tooMany};
  const bool named = isName(name);
  Entry& entry = enter(named ? name : snapshotName(name), reason);
  if (countLike(reason) > most) {
    settle(entry, tooMany);
  } else if (!named) {
    settle(entry, "name-invalid: a name has 1 to 64 characters of A-Z a-z 0-9 _ . -");
  } else if (monitor_ == nullptr) {
    settle(entry, "no-monitor: somebody else runs the monitor of this machine");
  }
  if (entry.settled) return entry.fact;
  entry.noStats = std::move(noStats);
  auto done = ask(entry, schedulerStats).fork();
  tasks_.add(done.addBranch());
  return done.addBranch().then([&entry] { return entry.fact; });
}

kj::Promise<void> Snapshots::ask(Entry& entry, const std::string& schedulerStats) {
  auto paf = kj::newPromiseAndFulfiller<void>();
  entry.arrived = kj::mv(paf.fulfiller);
  auto request = KJ_ASSERT_NONNULL(monitor_).dumpRequest();
  request.setName(entry.fact.name);
  request.setReason(entry.fact.reason);
  request.setSchedulerStats(schedulerStats);
  // The answer says that the record is written: it is on its way to us then.
  auto refused = request.send().ignoreResult().then(
      [] { return kj::Promise<void>(kj::NEVER_DONE); },
      [this, &entry](kj::Exception&& exception) -> kj::Promise<void> {
        settle(entry, text("monitor-failed: ", exception.getDescription().cStr()));
        return kj::READY_NOW;
      });
  auto late = timer_.afterDelay(patience).then([this, &entry] {
    settle(entry, text("timed-out: the monitor did not answer within ", patience / kj::SECONDS, " s"));
  });
  return paf.promise.exclusiveJoin(kj::mv(refused)).exclusiveJoin(kj::mv(late));
}

void Snapshots::received(rpc::Dump::Reader dump) {
  const std::string name = dump.getName().cStr();
  for (const auto& entry : entries_) {
    if (entry->fact.name == name && !entry->settled) return store(*entry, dump);
  }
  if (dump.getReason() != rpc::DumpReason::FAILURE || countLike(dump.getReason()) >= most) return;
  store(enter(snapshotName(name), rpc::DumpReason::FAILURE), dump);
}

void Snapshots::store(Entry& entry, rpc::Dump::Reader dump) {
  capnp::MallocMessageBuilder message;
  message.setRoot(dump);
  auto own = message.getRoot<rpc::Dump>();
  own.setName(entry.fact.name);
  for (auto absent : own.getAbsent()) {
    if (absent.getSection() == "schedulerStats" && !entry.noStats.empty()) absent.setReason(entry.noStats);
  }
  const std::string line = toJson(own.asReader()) + "\n";
  if (!record_.fits(RecordFile::snapshots, line.size()))
    return settle(entry, text("no-room: ", line.size(), " bytes more than the run may keep"));
  record_.append(RecordFile::snapshots, line);
  entry.fact.atNs = own.getAtNs();
  entry.fact.frozenNs = own.getFrozenNs();
  settle(entry, "");
}

kj::Promise<void> Snapshots::settled() {
  const bool all =
      std::all_of(entries_.begin(), entries_.end(), [](const auto& entry) { return entry->settled; });
  if (all) return kj::READY_NOW;
  return timer_.afterDelay(10 * kj::MILLISECONDS).then([this] { return settled(); });
}

bool Snapshots::hasFailureDump() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const auto& entry) {
    return entry->fact.reason == rpc::DumpReason::FAILURE && (!entry->settled || entry->fact.failure.empty());
  });
}

std::vector<SnapshotFact> Snapshots::facts() const {
  std::vector<SnapshotFact> facts;
  for (const auto& entry : entries_) {
    facts.push_back(entry->fact);
    if (!entry->settled) facts.back().failure = "run-ended: before the monitor had made it";
  }
  return facts;
}

kj::Promise<void> SnapshotServer::dump(DumpContext context) {
  return snapshots_.take(context.getParams().getName(), rpc::DumpReason::DEMAND).then([](SnapshotFact fact) {
    if (fact.failure.empty()) return;
    throw Error(ExitCode::infrastructure, "snapshot-failed", fact.failure, "see the run's snapshots");
  });
}

void writeSnapshots(const std::vector<SnapshotFact>& facts, const std::optional<ClockOffset>& clock,
                    uint64_t scenarioStartNs, rpc::RunRecord::Builder record) {
  auto list = record.initSnapshots(static_cast<unsigned>(facts.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const SnapshotFact& fact = facts[i];
    list[i].setName(fact.name);
    list[i].setReason(fact.reason);
    list[i].setFailure(fact.failure);
    if (fact.failure.empty()) list[i].setFile(recordFileName(RecordFile::snapshots));
    if (fact.frozenNs > 0) list[i].setFrozenMs(static_cast<double>(fact.frozenNs) / 1e6);
    if (fact.atNs > 0 && clock && scenarioStartNs > 0)
      list[i].setAtMs(static_cast<double>(static_cast<int64_t>(clock->guestNs(fact.atNs) - scenarioStartNs)) /
                      1e6);
    const bool byScenario =
        fact.reason == rpc::DumpReason::OPERATION || fact.reason == rpc::DumpReason::WATCH;
    if (byScenario && !fact.failure.empty())
      addFinding(
          record,
          Error(ExitCode::inconclusive, "snapshot-missing",
                text("snapshot ", fact.name, " that the scenario asks for was not taken: ", fact.failure),
                "what it was to show is not shown"),
          rpc::Outcome::INCONCLUSIVE);
  }
}

}  // namespace ktstr
