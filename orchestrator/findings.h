// Findings: the reasons of a verdict, and how they add up to one outcome and one exit code.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "protocol/error.h"
#include "protocol/record.capnp.h"

namespace ktstr {

using rpc::Outcome;

struct Finding {
  std::string name;
  Outcome outcome = Outcome::FAIL;  // PASS = a remark
  std::string message;
  std::string hint;
  std::string step = {}, cgroup = {}, worker = {};
  int32_t cpu = -1;
  double value = std::numeric_limits<double>::quiet_NaN();
  double limit = std::numeric_limits<double>::quiet_NaN();
  std::string evidence = {};
};

// The worse of two, in the order  fail > infrastructure > inconclusive > skip > pass:
//   - what is proven stays proven: a scheduler that died, stalled or starved a worker has failed, whatever
//   else broke;
//   - a harness or host failure explains missing evidence, so it is named before the evidence is;
//   - a skip means that nothing ran, so anything that did run and has a reason is worse.
Outcome worse(Outcome a, Outcome b);

ExitCode exitCodeOf(Outcome outcome);
Outcome outcomeOf(ExitCode code);          // usage has no outcome of its own: infrastructure
const char* outcomeName(Outcome outcome);  // "pass", "fail", ...

// A verdict in the making. At most `maxPerName` findings of one name are kept; the rest are counted in the
// evidence of the last one kept.
class Findings {
 public:
  static constexpr size_t maxPerName = 8;

  Finding* add(Finding finding);  // the kept finding, valid until the next add(); null if only counted
  // Whether anything but remarks was found.
  bool any() const { return outcome() != Outcome::PASS; }
  bool has(const std::string& name) const;
  Finding* find(const std::string& name);  // the first of that name, or null
  Outcome outcome() const;
  // Worst first, in order of addition within one outcome, remarks last.
  std::vector<Finding> sorted() const;

 private:
  std::vector<Finding> findings_;
  std::map<std::pair<std::string, Outcome>, size_t> counts_;
};

struct Judgement {
  Outcome outcome = Outcome::PASS;
  ExitCode exitCode = ExitCode::pass;
  std::vector<Finding> findings;  // worst first
};

void writeVerdict(const Judgement& judgement, rpc::Verdict::Builder out);

// One more for a verdict that has been written.
void addFinding(rpc::RunRecord::Builder record, const Error& error, rpc::Outcome outcome);

}  // namespace ktstr
