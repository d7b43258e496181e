#include "orchestrator/findings.h"

#include <capnp/orphan.h>

#include <algorithm>

#include "protocol/text.h"

namespace ktstr {

namespace {

int badness(Outcome outcome) {
  switch (outcome) {
    case Outcome::PASS:
      return 0;
    case Outcome::SKIP:
      return 1;
    case Outcome::INCONCLUSIVE:
      return 2;
    case Outcome::INFRASTRUCTURE:
      return 3;
    case Outcome::FAIL:
      return 4;
  }
  return 3;
}

}  // namespace

Outcome worse(Outcome a, Outcome b) {
  return badness(a) >= badness(b) ? a : b;
}

ExitCode exitCodeOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::PASS:
      return ExitCode::pass;
    case Outcome::FAIL:
      return ExitCode::fail;
    case Outcome::INCONCLUSIVE:
      return ExitCode::inconclusive;
    case Outcome::INFRASTRUCTURE:
      return ExitCode::infrastructure;
    case Outcome::SKIP:
      return ExitCode::skipped;
  }
  return ExitCode::infrastructure;
}

Outcome outcomeOf(ExitCode code) {
  switch (code) {
    case ExitCode::pass:
      return Outcome::PASS;
    case ExitCode::fail:
      return Outcome::FAIL;
    case ExitCode::inconclusive:
      return Outcome::INCONCLUSIVE;
    case ExitCode::skipped:
      return Outcome::SKIP;
    case ExitCode::usage:
    case ExitCode::infrastructure:
      break;
  }
  return Outcome::INFRASTRUCTURE;
}

const char* outcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::PASS:
      return "pass";
    case Outcome::FAIL:
      return "fail";
    case Outcome::INCONCLUSIVE:
      return "inconclusive";
    case Outcome::INFRASTRUCTURE:
      return "infrastructure";
    case Outcome::SKIP:
      return "skip";
  }
  return "unknown";
}

Finding* Findings::add(Finding finding) {
  if (++counts_[{finding.name, finding.outcome}] > maxPerName) return nullptr;
  return &findings_.emplace_back(std::move(finding));
}

bool Findings::has(const std::string& name) const {
  return std::any_of(findings_.begin(), findings_.end(), [&](const Finding& f) { return f.name == name; });
}

Finding* Findings::find(const std::string& name) {
  const auto found =
      std::find_if(findings_.begin(), findings_.end(), [&](const Finding& f) { return f.name == name; });
  return found == findings_.end() ? nullptr : &*found;
}

Outcome Findings::outcome() const {
  Outcome outcome = Outcome::PASS;
  for (const Finding& finding : findings_) outcome = worse(outcome, finding.outcome);
  return outcome;
}

std::vector<Finding> Findings::sorted() const {
  std::vector<Finding> sorted = findings_;
  for (const auto& [kind, count] : counts_) {
    if (count <= maxPerName) continue;
    const auto& [name, outcome] = kind;
    const auto last =
        std::find_if(sorted.rbegin(), sorted.rend(), [&name = name, outcome = outcome](const Finding& f) {
          return f.name == name && f.outcome == outcome;
        });
    if (!last->evidence.empty()) last->evidence += '\n';
    last->evidence += text("and ", count - maxPerName, " more findings of this name");
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const Finding& a, const Finding& b) {
    return badness(a.outcome) > badness(b.outcome);
  });
  return sorted;
}

void writeVerdict(const Judgement& judgement, rpc::Verdict::Builder out) {
  out.setOutcome(judgement.outcome);
  out.setExitCode(static_cast<uint8_t>(judgement.exitCode));
  auto list = out.initFindings(static_cast<unsigned>(judgement.findings.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const Finding& finding = judgement.findings[i];
    auto to = list[i];
    to.setName(finding.name);
    to.setOutcome(finding.outcome);
    to.setMessage(finding.message);
    to.setHint(finding.hint);
    to.setStep(finding.step);
    to.setCgroup(finding.cgroup);
    to.setWorker(finding.worker);
    to.setCpu(finding.cpu);
    to.setValue(finding.value);
    to.setLimit(finding.limit);
    to.setEvidence(finding.evidence);
  }
}

void addFinding(rpc::RunRecord::Builder record, const Error& error, rpc::Outcome outcome) {
  auto verdict = record.getVerdict();
  auto longer = capnp::Orphanage::getForMessageContaining(verdict).newOrphan<capnp::List<rpc::Finding>>(
      verdict.getFindings().size() + 1);
  for (uint i = 0; i < verdict.getFindings().size(); i++) {
    longer.get().setWithCaveats(i, verdict.getFindings()[i].asReader());
  }
  auto last = longer.get()[longer.get().size() - 1];
  last.setName(error.name());
  last.setMessage(error.message());
  last.setHint(error.hint());
  last.setOutcome(outcome);
  verdict.adoptFindings(kj::mv(longer));
  verdict.setOutcome(worse(verdict.getOutcome(), outcome));
  verdict.setExitCode(static_cast<uint8_t>(exitCodeOf(verdict.getOutcome())));
}

}  // namespace ktstr
